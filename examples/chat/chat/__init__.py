# What a room may be called: it is a part of the URL and of the name of a Channels group,
# which allows no other letters and fewer than 100 of them.
ROOM_NAME = r"[a-zA-Z0-9_\-]{1,64}"
