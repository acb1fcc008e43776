#!/bin/bash
# Runs Apptainer from the tree it is installed in. Everything is replaced by exec, so that a signal to this process
# reaches Apptainer, as it would on a cluster. chain.sh fills in the two paths.
set -eu
tree=@TREE@ certificates=@CERTIFICATES@
if [ -z "${FLUXKIT_IN_TREE:-}" ]; then
    export FLUXKIT_IN_TREE=outside PWD_BEFORE=$PWD
    # Without privileges a user namespace gives those that mounting needs, with the same uid.
    [ "$(id -u)" = 0 ] || exec unshare --user --map-current-user --keep-caps --mount "$0" "$@"
    exec unshare --mount --propagation private "$0" "$@"
fi
# A plain chroot is refused user namespaces, which Apptainer needs, so the tree becomes the root by pivot_root.
mount --rbind "$tree" "$tree"
for folder in dev proc sys tmp; do mount --rbind "/$folder" "$tree/$folder"; done
mount --bind "$tree/fuse.node" "$tree/dev/fuse"
mount --bind /etc/resolv.conf "$tree/etc/resolv.conf"
mount --bind "$certificates" "$tree$certificates"
unset FLUXKIT_IN_TREE
cd "$tree"
pivot_root . mnt
export PATH=/usr/sbin:/usr/bin:/sbin:/bin APPTAINER_DISABLE_CACHE=1 APPTAINER_TMPDIR=/tmp
cd "$PWD_BEFORE" 2>/dev/null || cd /
exec /usr/bin/env -u PWD_BEFORE apptainer "$@"
