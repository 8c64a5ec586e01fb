#!/usr/bin/env bash
# Builds one image of this project with buildah, without a registry: a Debian made by debootstrap
# and a Python of this machine stand in for the base image; for spark, this machine's Java and the
# Spark of `make spark` for the other one. Needs root, buildah and debootstrap.
#
#   tests/images/build.sh trainer|site|spark HOME [TAG]
#
# HOME is a folder for the engine's storage and the base, which later builds find there. It prints
# the settings with which podman finds the image; the certificates and the package settings of this
# machine are in the stand-in only, so do not publish what comes of it.
set -euo pipefail
image=${1:?trainer, site or spark}
home=$(mkdir -p "${2:?a folder}" && cd "$2" && pwd)
tag=${3:-localhost/recsys-$image:tried}
root=$(cd "$(dirname "$0")/../.." && pwd)
base=$(sed -n 's/^ARG PYTHON_IMAGE=//p' "$root/docker/$image/Dockerfile")
# Any Python that the lock files allow; PYTHON_PREFIX names a relocatable one.
prefix=${PYTHON_PREFIX:-$(python3 -c 'import sys; print(sys.base_prefix)')}

export CONTAINERS_CONF=$home/containers.conf CONTAINERS_STORAGE_CONF=$home/storage.conf
cat >"$CONTAINERS_CONF" <<CONF
[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
netns="host"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
CONF
cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "${STORAGE_DRIVER:-overlay}"
graphroot = "$home/storage"
runroot = "$home/run"
CONF

make_base() {
  local debian=$home/debian bundle=/etc/ssl/certs/ca-certificates.crt python
  if [ ! -e "$debian/.made" ]; then
    rm -rf "$debian"
    debootstrap --variant=minbase \
      --include=ca-certificates,libbz2-1.0,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,libssl3,libuuid1,zlib1g \
      bookworm "$debian" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    rm -rf "$debian"/var/cache/apt/archives/*.deb
    touch "$debian/.made"
  fi
  python=$("$prefix/bin/python3" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  mkdir -p "$debian/usr/local/bin" "$debian/usr/local/lib"
  cp -a "$prefix/bin/$python" "$debian/usr/local/bin/"
  ln -sf "$python" "$debian/usr/local/bin/python3"
  ln -sf "$python" "$debian/usr/local/bin/python"
  tar -C "$prefix/lib" -c --exclude=site-packages --exclude=test --exclude=__pycache__ \
    --exclude='config-*' --exclude='*.a' "$python" | tar -C "$debian/usr/local/lib" -x
  cp -a "$prefix"/lib/libpython3*.so* "$debian/usr/local/lib/" 2>/dev/null || true
  chroot "$debian" ldconfig
  chroot "$debian" /usr/local/bin/python -m ensurepip --upgrade >/dev/null
  [ ! -e "$bundle" ] || cp "$bundle" "$debian$bundle"
  local container
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$debian" / >/dev/null
  buildah config --cmd python --env SSL_CERT_FILE=$bundle --env PIP_CERT=$bundle "$container"
  buildah commit --quiet --rm "$container" "$base"
}

# Java, Spark and what else the Dockerfile takes from Spark's own image, where that has it.
make_spark() {
  local folder=$home/spark java pyspark container name
  java=$(readlink -f "${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")}")
  pyspark=$(echo "$root"/spark/.venv/lib/python3*/site-packages/pyspark)
  mkdir -p "$folder/opt/java/openjdk" "$folder/opt/spark/python/lib" "$folder/opt/spark/work-dir" \
    "$folder/usr/bin"
  # Debian keeps a part of Java in /etc, and links to sources that need not be there.
  tar -C "$java" -ch --exclude=src.zip bin conf lib release | tar -C "$folder/opt/java/openjdk" -x
  for name in bin jars; do cp -a "$pyspark/$name" "$folder/opt/spark/"; done
  cp -a "$pyspark"/python/lib/*.zip "$folder/opt/spark/python/lib/"
  printf '#!/bin/sh\nexec "$@"\n' | tee "$folder/opt/entrypoint.sh" "$folder/opt/decom.sh" \
    >"$folder/usr/bin/tini-static"
  chmod 755 "$folder"/opt/*.sh "$folder/usr/bin/tini-static"
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$folder" / >/dev/null
  buildah commit --quiet --rm "$container" "$spark"
}

buildah inspect --type image "$base" >/dev/null 2>&1 || make_base
spark=$(sed -n 's/^ARG SPARK_IMAGE=//p' "$root/docker/$image/Dockerfile")
[ -z "$spark" ] || buildah inspect --type image "$spark" >/dev/null 2>&1 || make_spark
buildah build --isolation chroot --pull-never --file "$root/docker/$image/Dockerfile" \
  --build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" \
  --tag "$tag" "$root"
echo "built $tag; podman finds it with"
echo "export CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF"
