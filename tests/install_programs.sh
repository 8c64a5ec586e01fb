#!/bin/sh
# Installs programs of Debian for tests where that can be done: install_programs.sh NAME...
# Where it cannot, the tests that need them are skipped and say why.
PATH=$PATH:/usr/sbin
for name in "$@"; do
    command -v "$name" >/dev/null 2>&1 && continue
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "no $name, and none can be installed here: the tests that need it will be skipped"
        continue
    fi
    echo "installing $name for the tests"
    { apt-get install -y -qq "$name" \
        || { apt-get update -qq && apt-get install -y -qq "$name"; }; } >/dev/null 2>&1 \
        || echo "$name could not be installed: the tests that need it will be skipped"
done
