"""The sending side of Celery: the app, its Redis transport and ``notify``."""
