#!/bin/sh
# Starts ComfyUI. Every argument goes to ComfyUI as it is; `--help` lists them.
bundle_self=$0
case $bundle_self in */*) ;; *) bundle_self=./$bundle_self ;; esac
while [ -h "$bundle_self" ]; do
    bundle_link=$(readlink "$bundle_self" && echo .)
    bundle_link=${bundle_link%??}
    case $bundle_link in /*) bundle_self=$bundle_link ;; *) bundle_self=${bundle_self%/*}/$bundle_link ;; esac
done
bundle_root=$(CDPATH='' cd -P "${bundle_self%/*}/" && pwd -P && echo .) || exit 1
bundle_root=${bundle_root%??}
bundle_python=$bundle_root/python/bin/python
if [ ! -f "$bundle_root/portable/__main__.py" ] || [ ! -x "$bundle_python" ]; then
    echo "The bundle is not complete: $bundle_root has no working portable/ or python/ folder. Unzip all of it, then try again. If it came in parts, unzip each into the same folder, part 1 first." >&2
    exit 1
fi
# macOS marks a download as quarantined and then refuses to start the programs in it.
if [ "$(uname 2>/dev/null)" = Darwin ] && xattr -p com.apple.quarantine "$bundle_python" >/dev/null 2>&1; then
    xattr -dr com.apple.quarantine "$bundle_root"
fi
exec "$bundle_python" -I -X utf8 "$bundle_root/portable" run "$@"
