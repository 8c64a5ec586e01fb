#!/bin/sh
# Updates requirements.txt: what Airflow's manager of accounts needs besides the pipeline's environment,
# in versions that fit it. `make lock` runs it in the project's root after uv.lock, with the path of uv.
set -eu
uv=$1
requirements=tests/fab/requirements
# The file's versions stay unless they no longer fit, as `uv lock` does it.
cp $requirements.txt .tools/fab.txt
"$uv" export --quiet --locked --all-extras --no-dev --no-emit-project --no-hashes --no-annotate \
    --no-header --output-file .tools/pipeline.txt
# What is locked for Windows only is not in the environment.
sed -n "/== 'win32'/d; s/^\([A-Za-z0-9._-]*\)\(\[.*\]\)\{0,1\}==.*/--no-emit-package \1/p" \
    .tools/pipeline.txt |
    xargs "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --constraint .tools/pipeline.txt --output-file .tools/fab.txt $requirements.in
# A blank line comes before the list of what is left out.
sed '/^$/,$d' .tools/fab.txt >$requirements.txt
