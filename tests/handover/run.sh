#!/bin/bash
# Hands one directory from rmq-lite to a real Apache RocketMQ 5.3.3 and back, after clean stops and after kill -9: HandOver.java.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/handover/run.sh
. "$(dirname "$0")/beside-apache.sh"
oracle=$handover/../clients/oracle
prepare "the hand-over with Apache" "$handover/HandOver.java"
# Not left to the first start of a server: two may start at once.
javac -cp "$jars/*" -d "$handover/target/oracle-classes" "$oracle/ApacheServer.java"
export APACHE_LIB=$jars APACHE_HEAP=${APACHE_HEAP:--Xms128m -Xmx400m}
run HandOver "$bin" "$oracle/apache"
