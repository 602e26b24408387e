// The tests of VirtioVsock.
