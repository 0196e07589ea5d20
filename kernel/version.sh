# The kernel that is shipped: a Debian source package of a long-term series. Sourced by kernel/build.sh.
KERNEL_SERIES=6.12
KERNEL_DEBIAN_VERSION=6.12.117-1
KERNEL_SUITE=trixie
# SHA-256 of linux-source-$KERNEL_SERIES.tar.xz inside that package.
KERNEL_SHA256=3b8ee8eaec6ff5e1661343ff73ac04ce59d020f552f29543c02f571960d75345
