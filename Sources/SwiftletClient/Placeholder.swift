// The client library's room.
