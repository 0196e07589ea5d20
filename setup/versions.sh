# Versions of the build tools that are not Debian packages. Sourced by the scripts in setup/.
ZIG_VERSION=0.17.1
ZIGBUILD_VERSION=0.24.0
CARGO_DENY_VERSION=0.20.2
RUSTUP_VERSION=1.28.2
RUSTUP_SHA256_x86_64=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
RUSTUP_SHA256_aarch64=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c
