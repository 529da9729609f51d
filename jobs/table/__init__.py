"""The job table in Redis: key names, Lua scripts and the methods that call them."""
