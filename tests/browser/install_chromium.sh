#!/bin/sh
# Installs Debian's chromium for the browser tests where that can be done; where it cannot, they are
# skipped and say why.
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "no chromium, and none can be installed here: the browser tests will be skipped"
    exit 0
fi
echo "installing chromium for the browser tests"
{ apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } \
    >/dev/null 2>&1 || echo "chromium could not be installed: the browser tests will be skipped"
