#!/bin/sh
# Runs in a root without Python and without network, beside the bundle: start it, ask it, stop it. $1: the bundle's root.
set -eu
cd /
if command -v python3 >/dev/null 2>&1; then echo "this root has a Python; it proves nothing" >&2; exit 1; fi
"$1/run_comfyui.sh" --cpu --port 8188 >/tmp/log 2>&1 &
server=$!
code=0
"$1/python/bin/python" -I - <<'PY' || code=$?
import json, sys, time, urllib.request
for attempt in range(240):
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8188/", timeout=10)
        break
    except OSError:
        time.sleep(1)
else:
    sys.exit("no answer after 240 s")
nodes = json.load(urllib.request.urlopen("http://127.0.0.1:8188/object_info", timeout=60))
print(f"/ answered {page.status}, {len(page.read())} bytes; /object_info lists {len(nodes)} node classes")
PY
kill -TERM "$server" || code=1 # a shell starts what runs in the background deaf to SIGINT
wait "$server" || true
if [ "$code" != 0 ] || grep -q 'IMPORT FAILED' /tmp/log; then cat /tmp/log >&2; exit 1; fi
