#!/bin/bash
# A master and its slave of which one is rmq-lite and the other a real Apache RocketMQ 5.3.3, both ways round: Mixed.java.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/mixed/run.sh
. "$(dirname "$0")/../handover/beside-apache.sh"
prepare "replication with Apache" "$(dirname "$0")/Mixed.java"
run Mixed "$bin" "$jars"
