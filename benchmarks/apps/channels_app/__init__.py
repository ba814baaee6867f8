"""A Channels project as the tutorials set it up: the whole ASGI stack around the consumers."""
