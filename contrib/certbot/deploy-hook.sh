#!/bin/sh
# Give the relay readable copies of a certificate that certbot has just renewed, and tell it to read them:
#
#     certbot certonly --standalone -d relay.example --deploy-hook /usr/local/lib/p2p-copy/deploy-hook.sh
#
# certbot keeps that line for this certificate, and names the directory of the new pair in RENEWED_LINEAGE.
# The copies are root:p2p-copy 0640. Certificate and key change together, by the renaming of one link, so there
# is no moment at which the relay would find half of a pair.
#
# P2P_COPY_TLS (default /etc/p2p-copy/tls) is the link, P2P_COPY_GROUP (default p2p-copy) the relay's group.
set -eu

lineage=${RENEWED_LINEAGE:?"not set: certbot runs this as --deploy-hook; by hand, set it to /etc/letsencrypt/live/NAME"}
tls=${P2P_COPY_TLS:-/etc/p2p-copy/tls}
group=${P2P_COPY_GROUP:-p2p-copy}
service=run-relay-server.service

if [ -e "$tls" ] && [ ! -L "$tls" ]; then
    echo "$0: $tls is not a link that this script made. Move it away." >&2
    exit 1
fi

folder=$(dirname "$tls")
[ -d "$folder" ] || install -d -m 0755 "$folder"
umask 0077
new=$(mktemp -d "$tls.XXXXXXXX")
trap 'rm -rf "$new" "$new.link"' EXIT
for file in fullchain.pem privkey.pem; do
    cp "$lineage/$file" "$new/$file"
    chgrp "$group" "$new/$file"
    chmod 0640 "$new/$file"
done
chgrp "$group" "$new"
chmod 0750 "$new"

old=$(readlink "$tls" || true)
ln -s "$(basename "$new")" "$new.link"
mv -T "$new.link" "$tls"
trap - EXIT
# Only what this script made before, never a directory that somebody chose.
case $old in
    "$(basename "$tls")".????????) rm -rf "${folder:?}/$old" ;;
esac

# A relay that does not run reads the new pair when it starts.
if systemctl is-active --quiet "$service"; then
    systemctl reload "$service"
fi
