# SPDX-License-Identifier: Apache-2.0

packages_file=$root/tools/dev.d/packages.txt

usage() {
    cat <<'TEXT'
usage: ./dev deps [--list]

Install the packages of tools/dev.d/packages.txt that are missing (Debian 12,
root, without questions and without recommends).  Does nothing, and needs no
network, when nothing is missing.

  --list   print what is missing, install nothing
TEXT
}

packages() { sed -E 's/#.*//; s/[[:space:]].*//; /^$/d' "$packages_file"; }

missing_packages() {
    local installed
    installed=$(packages | xargs dpkg-query -W \
        -f '${db:Status-Status} ${Package}\n' 2>/dev/null |
        sed -n 's/^installed //p' || true)
    packages | sort -u | comm -23 - <(sort -u <<<"$installed")
}

install_packages() {
    env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o Dpkg::Options::=--force-confold \
        install --no-install-recommends "$@"
}

main() {
    local missing
    missing=$(missing_packages)
    if [[ ${1:-} == --list ]]; then
        if [[ -n $missing ]]; then printf '%s\n' "$missing"; fi
        return 0
    fi
    if [[ -z $missing ]]; then return 0; fi
    if [[ $(id -u) != 0 ]]; then
        die "packages are missing, run 'sudo ./dev deps':" $missing
    fi
    say "installing:" $missing
    # The lists may be absent or old; then the first attempt fails.
    # shellcheck disable=SC2086
    if ! install_packages $missing >"$root/.deps.log" 2>&1; then
        quietly "$root/.deps.log" apt-get -q update
        quietly "$root/.deps.log" install_packages $missing
    fi
    rm -f "$root/.deps.log"
    missing=$(missing_packages)
    if [[ -n $missing ]]; then die "still missing:" $missing; fi
}
