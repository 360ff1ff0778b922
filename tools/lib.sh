# Shared by tools/quickstart and tools/test: what is missing, installing it, running a step quietly.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=${0##*/}

say() { printf '%s\n' "$*"; }

# die STATUS LINE...: the message, one line each, on stderr.
die() {
    local status=$1
    shift
    printf '%s\n' "$program: $1" >&2
    shift
    [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
    exit "$status"
}

cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

# ------------------------------------------------------------------ what is here

cxx() {
    local name
    for name in ${CXX:-} c++ g++ clang++; do
        if command -v "$name" >/dev/null; then
            printf '%s\n' "$name"
            return 0
        fi
    done
    return 1
}

have_header() {
    local compiler
    compiler=$(cxx) || return 1
    printf '#include <%s>\n' "$1" | "$compiler" -std=c++20 -E -x c++ - >/dev/null 2>&1
}

# The newest clang++ that there is, at least 15 (older ones do not take libstdc++'s C++20 headers).
find_clang() {
    local version
    for version in 22 21 20 19 18 17 16 15; do
        if command -v "clang++-$version" >/dev/null; then
            printf '%s\n' "clang++-$version"
            return 0
        fi
    done
    version=$(clang++ -dumpversion 2>/dev/null) || return 1
    [ "${version%%.*}" -ge 15 ] 2>/dev/null && printf 'clang++\n'
}

# have PACKAGE: does what Debian's package brings work here, whoever installed it?
have() {
    case $1 in
        build-essential) cxx >/dev/null && command -v cc >/dev/null ;;
        cmake) command -v cmake >/dev/null ;;
        ninja-build) command -v ninja >/dev/null ;;
        libcli11-dev) have_header CLI/CLI.hpp ;;
        nlohmann-json3-dev) have_header nlohmann/json.hpp ;;
        libgtest-dev) have_header gtest/gtest.h ;;
        libgmock-dev) have_header gmock/gmock.h ;;
        libbenchmark-dev) have_header benchmark/benchmark.h ;;
        libpng-dev) have_header png.h ;;
        zlib1g-dev) have_header zlib.h ;;
        libsndfile1-dev) have_header sndfile.h ;;
        libutf8proc-dev) have_header utf8proc.h ;;
        binutils) command -v nm >/dev/null ;;
        pkg-config) command -v pkg-config >/dev/null ;;
        python3) python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null ;;
        clang) find_clang >/dev/null ;;
        clang-format) command -v clang-format-14 >/dev/null ||
            clang-format --version 2>/dev/null | grep -q 'version 14' ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# missing PACKAGE...: sets the array `lacking`.
missing() {
    local package
    lacking=()
    for package in "$@"; do
        have "$package" || lacking+=("$package")
    done
    [ ${#lacking[@]} -gt 0 ]
}

# ------------------------------------------------------------------ installing it

# apt_name PACKAGE: under what name the distribution offers it.
apt_name() {
    local name
    case $1 in
        clang)
            for name in clang-19 clang-18 clang-17 clang-16 clang-15; do
                apt-cache show "$name" >/dev/null 2>&1 && { printf '%s\n' "$name"; return; }
            done
            printf 'clang\n'
            ;;
        clang-format)
            apt-cache show clang-format-14 >/dev/null 2>&1 && { printf 'clang-format-14\n'; return; }
            printf 'clang-format\n'
            ;;
        *) printf '%s\n' "$1" ;;
    esac
}

# can_install: is there apt-get, and the right to use it? Sets the array `as_root`.
no_install=""
can_install() {
    [ -z "$no_install" ] && command -v apt-get >/dev/null || return 1
    as_root=()
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=(sudo -n)
}

# install LOG PACKAGE...: through apt; what is lacking afterwards is in `lacking`.
install() {
    local log=$1 package names=()
    shift
    missing "$@" || return 0
    can_install || return 1
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q
        -o DPkg::Lock::Timeout=300)
    say "installing: ${lacking[*]}"
    "${apt[@]}" update >>"$log" 2>&1 || say "  apt-get update failed; going on with the lists there are"
    for package in "${lacking[@]}"; do
        names+=("$(apt_name "$package")")
    done
    # One that cannot be had must not keep the others away.
    "${apt[@]}" install --no-install-recommends "${names[@]}" >>"$log" 2>&1 </dev/null ||
        for package in "${names[@]}"; do
            "${apt[@]}" install --no-install-recommends "$package" >>"$log" 2>&1 </dev/null || true
        done
    hash -r
    ! missing "$@"
}

# need LOG PACKAGE...: installs, or says what is missing and exits with 3.
need() {
    local log=$1 why
    shift
    install "$log" "$@" && return 0
    if ! command -v apt-get >/dev/null; then
        why="there is no apt-get here; install what your system calls them, then run it again"
    elif [ -n "$no_install" ]; then
        why="--no-install was given"
    elif ! can_install; then
        why="not root, and sudo is not here or asks for a password"
    else
        why="apt-get could not install them; its messages are in $log"
    fi
    die 3 "missing packages: ${lacking[*]}" "$why" \
        "sudo apt-get update && sudo apt-get install --no-install-recommends ${lacking[*]}"
}

# want LOG: what the program can do more with; a build without them works too.
want() {
    install "$1" libpng-dev zlib1g-dev libsndfile1-dev libutf8proc-dev && return 0
    say "    without ${lacking[*]}: the program then lacks PNG, gzip, sound files or tokenizers"
}

# The CMake that CMakeLists.txt asks for.
need_cmake_version() {
    local wanted found
    wanted=$(sed -n 's/^ *cmake_minimum_required *(VERSION *\([0-9.]*\).*/\1/p' "$root/CMakeLists.txt" |
        head -n 1)
    found=$(cmake --version | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        die 3 "CMake $wanted or later is needed; this one is $found"
}

# quietly LOG COMMAND...: runs it with its output in LOG; shows the end of it on failure.
quietly() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null && return 0
    printf '%s\n' "--- failed: $*" >&2
    # The compiler's own words if there are any, else the last lines.
    { grep -E -A4 '(: error:|: fatal error:|undefined reference|CMake Error)' "$log" || tail -n 30 "$log"; } |
        head -n 40 | cut -c -300 >&2
    printf '%s\n' "--- all of it: $log" >&2
    return 1
}
