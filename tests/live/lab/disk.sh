# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# disk.sh -- image files: making them, their chains, the files inside them
# without booting anybody.

# disk_blank SIZE: path of a cached qcow2 image that holds one empty ext4.
disk_blank() {
    local blank="$VARVE_LAB_CACHE/blank-$1.qcow2" raw

    if [ ! -e "$blank" ]; then
        raw=$(mktemp "$VARVE_LAB_CACHE/blank.XXXXXX")
        truncate -s "$1" "$raw" &&
            mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$raw" &&
            qemu-img convert -O qcow2 -o cluster_size=64k "$raw" "$raw.qcow2" &&
            mv "$raw.qcow2" "$blank" || return 1
        rm -f "$raw"
    fi
    echo "$blank"
}

# disk_make FILE SIZE KIND: qcow2; raw; or foreign, a qcow2 overlay on an image
# that all machines of the lab share and nobody may ever change.
disk_make() {
    local blank golden="$LAB/pool/golden-$2.qcow2"

    blank=$(disk_blank "$2") || return 1
    case $3 in
    qcow2)
        cp --sparse=always "$blank" "$1"
        ;;
    raw)
        qemu-img convert -O raw "$blank" "$1"
        ;;
    foreign)
        [ -e "$golden" ] || cp --sparse=always "$blank" "$golden" || return 1
        chmod 444 "$golden"
        qemu-img create -q -f qcow2 -b "$golden" -F qcow2 "$1"
        ;;
    *)
        echo "disk_make: no kind '$3'" >&2
        return 1
        ;;
    esac
}

# chain_of FILE: the files of its backing chain, top first.
chain_of() {
    qemu-img info -U --backing-chain --output=json "$1" |
        jq -r '.[].filename'
}

depth_of() {
    chain_of "$1" | wc -l
}

backing_of() {
    chain_of "$1" | sed -n 2p
}

# image_raw FILE RAW: what a guest with this disk would see, as a flat file.
image_raw() {
    local format

    format=$(qemu-img info -U --output=json "$1" | jq -r .format) &&
        qemu-img convert -U -f "$format" -O raw "$1" "$2"
}

# image_list FILE MOUNT: the files in the image's ext4, as gls shows them when
# it is mounted at MOUNT.  Its journal is replayed on a copy first, as a boot
# would do; damage beyond that is an error.
image_list() {
    local raw tree status

    raw=$(mktemp "$LAB/tmp/image.XXXXXX")
    tree=$(mktemp -d "$LAB/tmp/tree.XXXXXX")
    image_raw "$1" "$raw" &&
        { e2fsck -fy "$raw" >"$tree.fsck" 2>&1 || [ $? = 1 ]; } &&
        debugfs -R "rdump / $tree" "$raw" 2>/dev/null >&2 &&
        "$VARVE_LAB_CACHE/guest-tool" list "$tree" "$2"
    status=$?
    [ "$status" = 0 ] || trouble "'$1' has no sound file system"
    rm -rf "$raw" "$tree" "$tree.fsck"
    return "$status"
}

# image_put FILE PATH SEED KIB: a file is written into the image's ext4 without
# a guest: the chain is shown as a flat file by qemu-storage-daemon (FUSE).
# 1 when this host cannot do that; nothing was written then.
image_put() {
    local flat pid status=1

    [ -c /dev/fuse ] && command -v qemu-storage-daemon >/dev/null || return 1
    flat=$(mktemp "$LAB/tmp/flat.XXXXXX")
    "$VARVE_LAB_CACHE/guest-tool" fill "$flat.new" "$3" $(($4 * 1024))
    qemu-storage-daemon --pidfile "$flat.pid" \
        --blockdev "driver=file,node-name=file,filename=$1,locking=on" \
        --blockdev driver=qcow2,node-name=disk,file=file,discard=unmap \
        --export "fuse,id=e,node-name=disk,mountpoint=$flat,writable=on" &
    pid=$!
    if until_true 5 test -s "$flat"; then
        { e2fsck -fy "$flat" >/dev/null 2>&1 || [ $? = 1 ]; } &&
            debugfs -w -R "write $flat.new $2" "$flat" >/dev/null 2>&1 &&
            status=0
    fi
    end_process "$pid" 5
    wait "$pid" 2>/dev/null
    rm -f "$flat" "$flat.new" "$flat.pid"
    return $status
}

# image_is_clean FILE: the ext4 in it was frozen or unmounted at that point:
# its journal has nothing to replay.
image_is_clean() {
    local raw status

    raw=$(mktemp "$LAB/tmp/image.XXXXXX")
    image_raw "$1" "$raw" &&
        ! dumpe2fs -h "$raw" 2>/dev/null |
            grep -q '^Filesystem features:.*needs_recovery'
    status=$?
    rm -f "$raw"
    return "$status"
}

# image_check FILE: qemu-img check finds nothing wrong in any file of it.
image_check() {
    local file bad=0

    while read -r file; do
        case $(qemu-img info -U --output=json "$file" | jq -r .format) in
        qcow2) qemu-img check -q -U "$file" >/dev/null 2>&1 || bad=1 ;;
        esac
    done < <(chain_of "$1")
    return "$bad"
}

# same_content A B: a guest could not tell the two images from each other.
same_content() {
    qemu-img compare -q -U "$1" "$2"
}

# virtual_size FILE; stored_size FILE: in bytes.
virtual_size() {
    qemu-img info -U --output=json "$1" | jq '."virtual-size"'
}

stored_size() {
    qemu-img info -U --output=json "$1" | jq '."actual-size"'
}
