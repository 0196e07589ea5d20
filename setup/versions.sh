# Versions of the build tools that are not Debian packages. Sourced by the scripts in setup/.
ZIG_VERSION=0.17.1
ZIGBUILD_VERSION=0.24.0
CARGO_DENY_VERSION=0.20.2
