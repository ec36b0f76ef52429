#!/usr/bin/env bash
# Runs every command block of a page in order, as written, in an empty folder and its own network namespace:
# tests/readme.sh PROGRAM [PAGE]
#
# A block is fenced with three backticks and `sh`. A second word selects how it is run:
#   (none)     in one shell that keeps its variables; a command that fails ends the run
#   build      not run: PROGRAM is its result
#   server     in the background, until a block `stop` or the end; the next block waits until it is ready
#   stop       stops the server, like Ctrl-C
#   interrupt  interrupted, like Ctrl-C, after five seconds; it must have printed something
#   grpcurl    only if grpcurl is installed
set -euo pipefail
program=$(realpath "$1")
page=$(realpath "${2:-$(dirname "$0")/../README.md}")
if [ "${READMESH_INSIDE:-}" != yes ]; then
    # The page uses fixed ports, so run in a separate network namespace.
    READMESH_INSIDE=yes exec unshare --net bash "$0" "$program" "$page"
fi
ip link set lo up
folder=$(mktemp -d)
server=
finish() {
    status=$?
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    [ "$status" = 0 ] || { echo "readme: failed; output of the server:" >&2; cat "$folder"/server.* >&2 || true; }
    rm -rf "$folder"
}
trap finish EXIT
mkdir "$folder/bin" "$folder/data"
ln -s "$program" "$folder/bin/parley"
export PATH="$folder/bin:$PATH"
for name in $(compgen -e | grep -E '^(PARLEY|OTEL)_' || true); do unset "$name"; done
cd "$folder/data"

# Write each block to a file, named by number and kind.
awk -v folder="$folder" '
    /^```sh/ { open = 1; count++; kind = $2 == "" ? "plain" : $2; file = sprintf("%s/block.%03d.%s", folder, count, kind); printf "" > file; next }
    /^```/ { open = 0; next }
    open { print >> file }
' "$page"

wait_until_ready() {
    for _ in $(seq 300); do
        parley healthcheck 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || { echo "readme: the server exited" >&2; exit 1; }
        sleep 0.1
    done
    echo "readme: the server is not ready" >&2
    exit 1
}

stop() {
    [ -n "$server" ] || return 0
    kill -INT "$server"
    wait "$server" || { echo "readme: the server exited with $?" >&2; exit 1; }
    server=
}

run=0
for block in "$folder"/block.*; do
    kind=${block##*.}
    echo "== ${block##*/}: $(head -1 "$block")"
    case $kind in
    build) continue ;;
    server)
        bash -c "exec $(cat "$block")" >"$folder/server.out" 2>"$folder/server.err" &
        server=$!
        wait_until_ready
        # The line that the page says to paste, if this start printed it.
        token=$(grep -o 'export PARLEY_TOKEN=.*' "$folder/server.out" || true)
        [ -z "$token" ] || eval "$token"
        ;;
    stop) stop ;;
    interrupt)
        # Run the block in a separate shell, because interrupting it would end this one.
        declare -p A BOT PARLEY_TOKEN >"$folder/variables" 2>/dev/null || true
        cat "$block" >>"$folder/variables"
        timeout --preserve-status --signal INT 5 bash "$folder/variables" >"$folder/out" 2>"$folder/err" || true
        cat "$folder/out" "$folder/err"
        [ -s "$folder/out" ] || { echo "readme: it printed nothing" >&2; exit 1; }
        ;;
    grpcurl) if command -v grpcurl >/dev/null; then . "$block"; else echo "grpcurl is not installed: not run"; fi ;;
    plain) . "$block" ;;
    *) echo "readme: unknown kind of block: $kind" >&2; exit 1 ;;
    esac
    run=$((run + 1))
done
stop
echo "readme: $run blocks ran"
