"""The subcommands of ``thinkqueue``, most of them one module each."""
