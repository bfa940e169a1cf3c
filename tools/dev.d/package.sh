# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev package [OUTPUT-DIR]

Build for /usr and make varve_VERSION_ARCH.deb and varve-VERSION-ARCH.tar.gz
of what `meson install` installs, in OUTPUT-DIR (build-package/).

The package installs the hook for libvirt (varved --install-hook), and enables
and starts the daemon on its first installation.  An upgrade leaves a running daemon, and so its jobs, alone; removing the package
leaves backups and the database.
TEXT
}

# The Debian packages that hold the libraries our programs link.
library_packages() {
    local programs
    programs=$(find "$1" -type f -perm /111 \
        \( -path '*/bin/*' -o -path '*/sbin/*' -o -path '*/lib*/varve/*' \))
    if [[ -z $programs ]]; then return 0; fi
    mkdir -p "$2/debian"
    printf 'Source: varve\n\nPackage: varve\nArchitecture: any\n' \
        >"$2/debian/control"
    # shellcheck disable=SC2086
    (cd "$2" && dpkg-shlibdeps -O $programs 2>/dev/null) |
        sed -n 's/^shlibs:Depends=//p'
}

write_control() {
    local tree=$1 version=$2 arch=$3 depends=$4
    install -d "$tree/DEBIAN"
    cat >"$tree/DEBIAN/control" <<TEXT
Package: varve
Version: $version
Architecture: $arch
Maintainer: The varve developers <varve@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: ${depends:-libc6}
Recommends: libvirt-daemon-system
Description: snapshots, incremental backups and restores of KVM machines
 One daemon, one command and a CloudStack-style HTTP API for disk-only
 snapshots, incremental backups and restores of the machines of a libvirt.
 Points are plain qcow2 files in plain folders.
TEXT
    (cd "$tree" && find etc -type f -printf '/%p\n') >"$tree/DEBIAN/conffiles"
    cat >"$tree/DEBIAN/postinst" <<'TEXT'
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
# What it says when it cannot is the administrator's to read.
hook=$(/usr/sbin/varved --install-hook) || hook=
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # A libvirtd that has never seen a hook looks for one when it is told to.
    case $hook in
    *'systemctl reload'*)
        for unit in libvirtd virtqemud; do
            ! systemctl -q is-active $unit || systemctl reload $unit || true
        done
        ;;
    esac
    if [ -z "$2" ]; then
        systemctl enable --now varved.service
    fi
fi
TEXT
    cat >"$tree/DEBIAN/prerm" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now varved.service || true
    fi
    # It refuses while a machine is held: the hook goes on to guard it.
    /usr/sbin/varved --remove-hook || true
fi
TEXT
    chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm"
}

main() {
    local out=${1:-build-package} version arch tree work
    version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
    arch=$(dpkg --print-architecture)
    # The flags of build/, so that what is shipped is what was tested.
    CC=gcc build_into build-package --prefix=/usr --sysconfdir=/etc \
        --localstatedir=/var
    work=$(mktemp -d)
    tree=$work/tree
    quietly build-package/install.log meson install -C build-package \
        --no-rebuild --strip --destdir "$tree"
    install -D -m 644 LICENSE "$tree/usr/share/doc/varve/copyright"
    mkdir -p "$out"
    tar -C "$tree" --owner=0 --group=0 -czf \
        "$out/varve-$version-$arch.tar.gz" .
    write_control "$tree" "$version" "$arch" \
        "$(library_packages "$tree" "$work")"
    dpkg-deb --root-owner-group --build "$tree" \
        "$out/varve_${version}_$arch.deb" >/dev/null
    rm -rf "$work"
    ls -l "$out/varve_${version}_$arch.deb" "$out/varve-$version-$arch.tar.gz"
}
