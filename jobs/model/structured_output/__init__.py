"""The form of an answer that a client asks for, as a grammar."""
