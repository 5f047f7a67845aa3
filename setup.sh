#!/bin/sh
# Makes sure that everything is there which `npm start` and `npm test` need: the npm packages of the lockfile, Node 26
# among them, the built page, a redis-server of 7.0 or later, and for what opens the page in a browser a Chromium. Quick and
# silent where it is; says what it does where it is not.
# Needs Node 20 or later, npm, and for Redis and Chromium a package manager; runs as root and as an ordinary user.
set -eu
cd "$(dirname "$0")"

node_major=26
redis_major=7
redis_home="$PWD/.penstock/redis"
chromium_home="$PWD/.penstock/chromium"

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# Another apt-get may be at work, as on a machine that has just started: waits two minutes for its locks, of which apt-get
# itself waits for dpkg's alone.
refresh_packages() {
  tries=24
  until message=$(LC_ALL=C apt-get -qq update 2>&1); do
    case $message in *"Could not get lock"*) ;; *) tries=0 ;; esac
    [ "$tries" -gt 0 ] || { echo "$message" >&2; return 1; }
    tries=$((tries - 1))
    sleep 5
  done
}
install_package() {
  refresh_packages &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$1" >/dev/null
}

# --- npm packages -----------------------------------------------------------------------------------------------------

# The hidden lockfile is the last thing that npm writes.
packages_are_there() {
  [ -e node_modules/.package-lock.json ] && ! [ package-lock.json -nt node_modules/.package-lock.json ]
}

node_is_there() {
  case $(node_modules/.bin/node --version 2>/dev/null) in "v$node_major."*) ;; *) return 1 ;; esac
}

# npm must not run on the very Node that it is about to replace.
npm_outside() {
  (
    PATH=$(printf '%s' "$PATH" | tr ':' '\n' | grep -v 'node_modules/\.bin$' | tr '\n' ':')
    PATH=${PATH%:} npm "$@" --no-audit --no-fund --no-update-notifier --loglevel=error
  )
}

install_packages() {
  has npm || fail "npm is missing: install Node 20 or later with npm"
  say "installing the npm packages of the lockfile"
  # The tests need the development packages, under NODE_ENV=production too.
  npm_outside ci --include=dev --include=optional || fail "npm could not install the packages: see its message above"
}

# The package "node" fetches the program for this machine by its install script, which a setting may have kept from it.
install_node() {
  say "fetching Node $node_major by the npm package \"node\""
  npm_outside rebuild node --ignore-scripts=false || true
}

# The program needs a library of the C compiler's, which slim images lack.
node_lacks_libatomic() {
  case $(node_modules/.bin/node --version 2>&1) in *libatomic*) ;; *) return 1 ;; esac
}

install_libatomic() {
  [ "$(id -u)" = 0 ] || return
  if has apt-get; then
    say "installing libatomic1 with apt-get: Node $node_major needs it"
    install_package libatomic1
  elif has dnf; then
    say "installing libatomic with dnf: Node $node_major needs it"
    dnf -q -y install libatomic
  fi
}

packages_are_there || install_packages
! node_lacks_libatomic || install_libatomic || true
! node_lacks_libatomic || fail "Node $node_major needs the library libatomic: have an administrator install libatomic1"
node_is_there || install_node
node_is_there || fail "node_modules/.bin/node is not Node $node_major: remove node_modules and run this again"

# --- the page ---------------------------------------------------------------------------------------------------------

# Newer than all that it is made of.
page_is_there() {
  [ -e web/dist/index.html ] && [ -z "$(find web/index.html web/vite.config.ts web/tsconfig.json web/public web/src src/gen \
    package-lock.json -newer web/dist/index.html ! -name '*.test.ts' -type f)" ]
}

# Built beside the one that is there, which a server may be reading.
build_page() {
  say "building the page with Vite"
  node_modules/.bin/node node_modules/vite/bin/vite.js build web --outDir dist.new --emptyOutDir --logLevel warn &&
    rm -rf web/dist && mv web/dist.new web/dist
}

page_is_there || build_page || fail "the page could not be built: see the message above"

# --- redis-server -----------------------------------------------------------------------------------------------------

redis_fits() {
  version=$("$1" --version 2>/dev/null | sed -n 's/.* v=\([0-9]*\)\..*/\1/p')
  [ "${version:-0}" -ge "$redis_major" ]
}

redis_is_there() {
  redis_fits redis-server || redis_fits "$redis_home/bin/redis-server"
}

# redis-tools holds the server's program (it and the checker of its files are one, which looks at the name it is called
# by) without the service of redis-server, so that no daemon is started on this machine, now or at its next boot.
install_by_apt() {
  say "installing redis-tools with apt-get, and /usr/local/bin/redis-server as a link into it"
  install_package redis-tools || return
  has redis-server || ln -sf "$(command -v redis-check-rdb)" /usr/local/bin/redis-server
}

# Packages without root: unpacked into a folder, with the libraries that the machine lacks, and apt's lists of our own.
unpack_by_apt() {
  package=$1 home=$2
  say "downloading $package with apt-get and unpacking it into ${home#"$PWD"/}"
  rm -rf "$home/apt" "$home/root"
  mkdir -p "$home/apt/lists/partial" "$home/apt/archives/partial" "$home/root" "$home/bin"
  printf 'Dir::State::Lists "%s";\nDir::Cache "%s";\n' "$home/apt/lists" "$home/apt" >"$home/apt/apt.conf"
  (
    APT_CONFIG="$home/apt/apt.conf" && export APT_CONFIG
    cd "$home/apt"
    apt-get -qq update || exit 1
    # A simulated installation names what the machine lacks.
    packages=$(apt-get -s --no-install-recommends install "$package" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
    # shellcheck disable=SC2086 # a list of words
    apt-get -qq download $packages || exit 1
    for file in *.deb; do dpkg -x "$file" "$home/root" || exit 1; done
  ) || return
  rm -rf "$home/apt"
}

# A program of what was unpacked, that finds its libraries there (some stand in folders of their own, of which their users
# know the absolute path alone), and its fonts where the machine has none.
wrap() {
  name=$1 program=$2 home=$3
  cat >"$home/bin/$name" <<WRAPPER
#!/bin/sh
root=\$(cd "\$(dirname "\$0")/../root" && pwd)
LD_LIBRARY_PATH=\$(echo "\$root"/usr/lib/*-linux-gnu*):\$(echo "\$root"/lib/*-linux-gnu*):\$(echo "\$root"/usr/lib/*-linux-gnu*/pulseaudio)
export LD_LIBRARY_PATH
fonts=\$root/etc/fonts/fonts.conf
[ ! -e "\$fonts" ] || export FONTCONFIG_FILE="\$fonts"
exec "\$root/$program" "\$@"
WRAPPER
  chmod +x "$home/bin/$name"
}

unpack_redis() {
  unpack_by_apt redis-tools "$redis_home" || return
  ln -sf redis-check-rdb "$redis_home/root/usr/bin/redis-server"
  wrap redis-server usr/bin/redis-server "$redis_home"
}

install_redis() {
  if [ "$(id -u)" = 0 ]; then
    if has apt-get; then install_by_apt
    elif has dnf; then say "installing redis with dnf" && dnf -q -y install redis
    elif has apk; then say "installing redis with apk" && apk add -q redis
    fi
  elif has brew; then say "installing redis with brew" && brew install -q redis
  elif has apt-get; then unpack_redis
  fi
}

# A server that stands already needs none here; the tests start servers of their own.
if [ -z "${REDIS_URL:-}" ] || [ "${npm_lifecycle_event:-}" = test ]; then
  redis_is_there || install_redis || true
  redis_is_there || fail "there is no redis-server $redis_major.0 or later: install one, or set REDIS_URL to start with another"
fi

# --- Chromium ---------------------------------------------------------------------------------------------------------

chromium_is_there() {
  [ -n "${PENSTOCK_CHROMIUM:-}" ] || [ -x "$chromium_home/bin/chromium" ] || has chromium || has chromium-browser ||
    has google-chrome
}

unpack_chromium() {
  unpack_by_apt chromium "$chromium_home" || return
  fonts="$chromium_home/root/etc/fonts/fonts.conf"
  [ ! -e "$fonts" ] || sed -i 's#<dir>/usr/share/fonts</dir>#&<dir prefix="relative">../../usr/share/fonts</dir>#' "$fonts"
  wrap chromium usr/lib/chromium/chromium "$chromium_home"
}

install_chromium() {
  if [ "$(id -u)" = 0 ]; then
    if has apt-get; then
      say "installing chromium with apt-get: it opens the page for the tests"
      install_package chromium
    elif has dnf; then say "installing chromium with dnf" && dnf -q -y install chromium
    elif has apk; then say "installing chromium with apk" && apk add -q chromium
    fi
  elif has brew; then say "installing chromium with brew" && brew install -q --cask chromium
  elif has apt-get; then
    unpack_chromium
  fi
}

# A download of some hundred megabytes: for those alone who open the page by a program.
case "${npm_lifecycle_event:-}" in test | screenshots)
  chromium_is_there || install_chromium || true
  chromium_is_there || fail "there is no Chromium: install one, or name one by PENSTOCK_CHROMIUM" ;;
esac
