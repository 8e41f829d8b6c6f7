#!/usr/bin/env bash
# Create tonight's RayJob, unless an earlier pod did, and wait for it.
# 0: the night succeeded; 1: it failed or had findings; 3: try again from the start.
set -uo pipefail
trap 'exit 3' TERM INT

ask() {
    kubectl --namespace "$NAMESPACE" get rayjob "$NIGHT_NAME" --ignore-not-found \
        --output 'jsonpath={.metadata.name}/{.status.jobDeploymentStatus}/{.status.jobStatus}'
}

found=$(ask) || exit 3
if [ -z "$found" ]; then
    manifest=$(<"${NIGHT_MANIFEST:-/etc/winnow/rayjob.yaml}")
    manifest=${manifest//NIGHT_NAME/$NIGHT_NAME}
    manifest=${manifest//NIGHT_UID/$NIGHT_UID}
    kubectl create --filename - <<<"$manifest" || exit 3
fi

last=
while true; do
    # An API server that is away for a while is no reason to fail a night.
    if state=$(ask); then
        if [ "$state" != "$last" ]; then echo "$(date -u +%FT%TZ) ${state:-deleted}"; fi
        last=$state
        case $state in
            */Complete/SUCCEEDED) exit 0 ;;
            */Complete/* | */Failed/* | "") exit 1 ;;
        esac
    fi
    sleep "${NIGHT_POLL_SECONDS:-15}" &
    wait $!
done
