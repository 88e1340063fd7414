"""The names of Docker's official images, which need no registry: `redis:7`.

From https://github.com/docker-library/official-images, folder `library`, including images that are
no longer maintained.
"""

from __future__ import annotations

import re

_TEXT = """
adminer aerospike almalinux alpine alt amazoncorretto amazonlinux api-firewall arangodb
archlinux backdrop bash bonita buildpack-deps busybox caddy cassandra centos chronograf cirros
clearlinux clefos clickhouse clojure composer convertigo couchbase couchdb crate dart debian
docker drupal eclipse-mosquitto eclipse-temurin eggdrop elasticsearch elixir emqx erlang euleros
express-gateway fedora flink fluentd friendica gazebo gcc geonetwork ghost golang gradle groovy
haproxy haskell haxe hello-world hitch httpd hylang ibm-semeru-runtimes ibmjava influxdb irssi
jenkins jetty jobber joomla jruby julia kapacitor kibana kong krakend lightstreamer liquibase
logstash mageia mariadb matomo maven mediawiki memcached mongo mongo-express monica mono mysql
nats nats-streaming neo4j neurodebian nextcloud nginx node notary odoo open-liberty openjdk
opensuse oraclelinux orientdb percona perl photon php php-zendserver phpmyadmin plone
postfixadmin postgres pypy python r-base rabbitmq rakudo-star redis redmine registry rethinkdb
rockylinux ros ruby rust sapmachine satosa silverpeas sl solr sonarqube spark spiped storm swift
swipl teamspeak telegraf thrift tomcat tomee traefik ubuntu unit valkey varnish vault
websphere-liberty wordpress xwiki yourls znc zookeeper
"""
_NAMES = frozenset(_TEXT.split())
# Versions, such as `7`, `v7`, `22.04`, `3-alpine`, and the words in tags of official images.
_TAG = re.compile(
    r"v?\d{1,2}(?:[.-][\w.-]+)?|20\d\d|"
    r"(?:latest|stable|mainline|edge|rolling|rawhide|testing|unstable|sid|nightly|devel|dev|lts|"
    r"alpine|slim|bullseye|bookworm|trixie|buster|focal|jammy|noble|linux|glibc|musl|uclibc|"
    r"perl|fpm|apache|cli|dind|base|management|debian|ubuntu|fat)(?:[.-][\w.-]+)?",
    re.ASCII,
)
_HTTP = "80"


def is_official(name: str) -> bool:
    """Whether `name` is an official image."""
    return name in _NAMES


def is_official_image(name: str, tag: str) -> bool:
    """Whether `name` is an official image, and `tag` a plausible tag rather than a port."""
    return is_official(name) and tag != _HTTP and bool(_TAG.fullmatch(tag))
