// The tests of Control.
