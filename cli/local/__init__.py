"""The installation on this machine: state folder, embedded servers, supervised processes and checks."""
