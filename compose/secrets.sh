#!/bin/sh
# Make the passwords, once: of the cluster, of Flower (user:password), and of Grafana's user omx. What is there already stays.
# The folder is yours alone; the files in it can be read, because containers do so as another user.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
[ -s secrets/cluster ] || random > secrets/cluster
[ -s secrets/flower ] || printf 'omx:%s' "$(random)" > secrets/flower
[ -s secrets/grafana ] || random > secrets/grafana
chmod 444 secrets/cluster secrets/flower secrets/grafana
[ -s .env ] || echo 'SECRETS=./secrets' > .env
echo "The passwords are in $PWD/secrets, of which $PWD/.env tells docker compose."
