//! System calls that nix and rustix lack; the only room with unsafe code.
