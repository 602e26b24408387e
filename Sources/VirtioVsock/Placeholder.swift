// The socket device's room.
