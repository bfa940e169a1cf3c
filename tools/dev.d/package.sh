# SPDX-License-Identifier: Apache-2.0

usage() {
    cat <<'TEXT'
usage: ./dev package [OUTPUT-DIR]
       sudo ./dev package --test

Build for /usr and make varve_VERSION_ARCH.deb and varve-VERSION-ARCH.tar.gz
of what `meson install` installs, in OUTPUT-DIR (build-package/).

The package installs the hook for libvirt (varved --install-hook), enables the
daemon and starts it.  An upgrade leaves a running daemon, and so its jobs,
alone.  Removing the package, and purging it, leave backups and the database.

  --test   make it, and try it in a throw-away copy of this system's root:
           install, start, upgrade, remove, purge (tests/package)
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

# What Debian wants to find below /usr/share.
write_documents() {
    local tree=$1 version=$2 doc=$1/usr/share/doc/varve
    find "$tree/usr/share/man" -type f -exec gzip -9n {} +
    install -D -m 644 data/debian/copyright "$doc/copyright"
    install -D -m 644 data/debian/lintian-overrides \
        "$tree/usr/share/lintian/overrides/varve"
    gzip -9nc CHANGES.md >"$doc/NEWS.gz"
    gzip -9nc >"$doc/changelog.gz" <<TEXT
varve ($version) bookworm; urgency=medium

  * What changed is in NEWS.gz.

 -- The varve developers <varve@varve.invalid>  $(date -uR -r CHANGES.md)
TEXT
    chmod 644 "$doc"/*.gz
}

write_control() {
    local tree=$1 version=$2 arch=$3 depends=$4
    install -d "$tree/DEBIAN"
    cat >"$tree/DEBIAN/control" <<TEXT
Package: varve
Version: $version
Architecture: $arch
Maintainer: The varve developers <varve@varve.invalid>
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
    (cd "$tree" && find usr -type f -exec md5sum {} + | LC_ALL=C sort -k 2) \
        >"$tree/DEBIAN/md5sums"
    install -m 755 data/debian/postinst data/debian/prerm data/debian/postrm \
        "$tree/DEBIAN"
}

# make_package OUTPUT-DIR: both files are in it; says how they are called.
make_package() {
    local out=$1 version arch tree work
    version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
    arch=$(dpkg --print-architecture)
    # The flags of build/, so that what is shipped is what was tested.
    CC=gcc build_into build-package --prefix=/usr --sysconfdir=/etc \
        --localstatedir=/var -Dtests=false
    work=$(mktemp -d)
    tree=$work/tree
    quietly build-package/install.log meson install -C build-package \
        --no-rebuild --strip --destdir "$tree"
    write_documents "$tree" "$version"
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

main() {
    if [[ ${1:-} == --test ]]; then
        make_package build-package
        bash tests/package/package.test "$root" build-package/varve_*.deb
        return
    fi
    make_package "${1:-build-package}"
}
