#!/bin/sh
# Finds a Chromium for the browser tests, or installs Debian's when it may; never fails the build.
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then
    exit 0
  fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Chromium for the browser tests ..."
  if apt-get update -q >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium >/dev/null 2>&1; then
    exit 0
  fi
fi
echo "****************************************************************************"
echo "* No Chromium found and none could be installed: browser tests are SKIPPED. *"
echo "****************************************************************************"
exit 0
