#!/bin/sh
# Installs programs of Debian for tests where that can be done: install_programs.sh NAME[=PACKAGE]...
# Where it cannot, the tests that need them are skipped and say why.
PATH=$PATH:/usr/sbin

install_package() {
    { apt-get install -y -qq "$1" \
        || { apt-get update -qq && apt-get install -y -qq "$1"; }; } >/dev/null 2>&1
}

# Version 2 of Compose is in Debian since trixie, as one program without dependencies. It is taken from
# there without adding the release to the machine's sources.
install_compose() {
    folder=$(mktemp -d) || return 1
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/package"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian trixie main" >"$folder/sources.list"
    printf 'Dir::Etc::sourcelist "%s";\nDir::Etc::sourceparts "-";\nDir::State::lists "%s";\nDir::Cache "%s";\n' \
        "$folder/sources.list" "$folder/lists" "$folder/cache" >"$folder/apt.conf"
    (
        cd "$folder" || exit 1
        export APT_CONFIG="$folder/apt.conf"
        apt-get update -qq && apt-get download -qq docker-compose \
            && dpkg-deb -x docker-compose_*.deb package \
            && install -D "$(find package -path '*cli-plugins/docker-compose' -type f)" \
                /usr/local/lib/docker/cli-plugins/docker-compose
    ) >/dev/null 2>&1
    status=$?
    rm -rf "$folder"
    return $status
}

present() {
    if [ "$1" = docker-compose ]; then
        for folder in /usr/libexec /usr/local/lib /usr/lib; do
            [ -e "$folder/docker/cli-plugins/docker-compose" ] && return 0
        done
        return 1
    fi
    command -v "$1" >/dev/null 2>&1
}

for wanted in "$@"; do
    name=${wanted%%=*}
    package=${wanted#*=}
    present "$name" && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "no $name, and none can be installed here: the tests that need it will be skipped"
        continue
    fi
    echo "installing $name for the tests"
    if [ "$name" = docker-compose ]; then install_compose; else install_package "$package"; fi \
        || echo "$name could not be installed: the tests that need it will be skipped"
done
