#!/usr/bin/env bash
# bootstrap.sh [--ci]: install what building and testing tern needs and this machine lacks, with the system's package
# manager (Debian/Ubuntu, Fedora, macOS). Silent and without network when nothing is missing.
# --ci adds what .ci/run needs: Clang and its tools, the arm64 cross-compiler, qemu, numpy, and what some parts of tern
# work without: OpenMPI, gnuplot, nginx, mosquitto, Chromium.
set -euo pipefail

ci=no
case ${1:-} in
"") ;;
--ci) ci=yes ;;
*)
    echo "usage: tools/bootstrap.sh [--ci]" >&2
    exit 2
    ;;
esac

have() { command -v "$1" >/dev/null 2>&1; }
have_library() { have pkg-config && pkg-config --exists "$1"; }
have_compiler() { { have cc || have gcc || have clang; } && printf '#include <stdio.h>\n' | "${CC:-cc}" -E - >/dev/null 2>&1; }
have_old_cmake() { have cmake && ! printf '3.20\n%s\n' "$(cmake --version | sed -n '1s/[^0-9]*//p')" | sort -VC; }
is_ubuntu() { grep -qs '^ID=ubuntu' /etc/os-release; } # whose Chromium is a snap, which wants more than a package manager
have_yaml() { have python3 && python3 -c 'import yaml' 2>/dev/null; }
have_numpy() { have python3 && python3 -c 'import numpy' 2>/dev/null; }
have_clang_runtime() { # libFuzzer and the sanitizers of Clang
    have clang && printf 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 1e9; }' |
        clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null 2>/dev/null
}

case $(uname) in
Darwin) system=brew ;;
*)
    if have apt-get; then
        system=apt
    elif have dnf; then
        system=dnf
    else
        system=unknown
    fi
    ;;
esac

# need TEST APT DNF BREW: if TEST fails, add the package of this system ("-": nothing to install there)
packages=()
need() {
    eval "$1" && return
    local -A name=([apt]=$2 [dnf]=$3 [brew]=$4 [unknown]=$2)
    [ "${name[$system]}" = - ] || packages+=(${name[$system]})
}

if [ "$system" = brew ] && ((BASH_VERSINFO[0] < 4)); then
    # macOS ships bash 3.2, which lacks associative arrays: Homebrew's formula names, checked one by one
    for formula in cmake pkg-config jansson pcre2 libedit libmicrohttpd sqlite curl cmocka; do
        brew list --versions "$formula" >/dev/null 2>&1 || packages+=("$formula")
    done
else
    need have_compiler "gcc libc6-dev" gcc -
    need "have cmake" cmake cmake cmake
    need "have ninja" ninja-build ninja-build ninja
    need "have pkg-config" pkg-config pkgconf-pkg-config pkg-config
    need "have_library jansson" libjansson-dev jansson-devel jansson
    need "have_library libpcre2-8" libpcre2-dev pcre2-devel pcre2
    need "have_library libedit" libedit-dev libedit-devel libedit
    need "have_library libmicrohttpd" libmicrohttpd-dev libmicrohttpd-devel libmicrohttpd
    need "have_library sqlite3" libsqlite3-dev sqlite-devel sqlite
    need "have_library libcurl" libcurl4-openssl-dev libcurl-devel curl
    need "have_library cmocka" libcmocka-dev libcmocka-devel cmocka
    if [ $ci = yes ]; then
        need "have gcc" gcc gcc gcc
        need "have c++" g++ gcc-c++ -
        need "have clang" clang clang llvm
        need "have clang-tidy" clang-tidy clang-tools-extra -
        need "have clang-format" clang-format clang-tools-extra clang-format
        need have_clang_runtime libclang-rt-dev compiler-rt -
        need "have aarch64-linux-gnu-gcc" "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" gcc-aarch64-linux-gnu -
        need "have qemu-aarch64 || have qemu-aarch64-static" qemu-user qemu-user -
        need "have mpirun && have_library ompi-c" "libopenmpi-dev openmpi-bin" openmpi-devel open-mpi
        need "have gnuplot" gnuplot-nox gnuplot gnuplot
        need "have nginx || [ -x /usr/sbin/nginx ]" nginx-light nginx nginx
        need "have_library libmosquitto" libmosquitto-dev mosquitto-devel mosquitto
        need "have mosquitto || [ -x /usr/sbin/mosquitto ]" mosquitto mosquitto mosquitto
        need "have chromium || have chromium-browser || have google-chrome || is_ubuntu" chromium chromium -
        need "have mosquitto_sub" mosquitto-clients mosquitto mosquitto
        need have_numpy python3-numpy python3-numpy numpy
        need "python3 -c 'import ensurepip' 2>/dev/null" python3-venv - -
        need have_yaml python3-yaml python3-pyyaml -
    fi
fi
if have_old_cmake; then
    echo "bootstrap: cmake $(cmake --version | sed -n '1s/[^0-9]*//p') is too old, tern needs 3.20 or newer (https://cmake.org/download)" >&2
    exit 1
fi
[ ${#packages[@]} = 0 ] && exit 0

as_root=()
if [ $system != brew ] && [ "$(id -u)" != 0 ]; then
    if ! have sudo; then
        echo "bootstrap: missing: ${packages[*]}; install them as root, or run this script as root" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "bootstrap: installing ${packages[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    case $system in
    apt)
        # An update that fails in part (one mirror down) may still know the packages: let install decide.
        "${as_root[@]}" apt-get update -qq || true
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
        ;;
    dnf) "${as_root[@]}" dnf install -y -q "${packages[@]}" ;;
    brew) brew install --quiet "${packages[@]}" ;;
    *)
        echo "no package manager that this script knows (apt-get, dnf, brew); the Debian names are: ${packages[*]}"
        return 1
        ;;
    esac
}
if ! install >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "bootstrap: could not install ${packages[*]}" >&2
    exit 1
fi
