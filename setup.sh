# Sourced by ./run and ./test: makes sure that everything the hub needs is on this machine, and says what it does.
# Nothing is installed outside the clone except system packages, and those only as root or with sudo.

cd -- "$(dirname -- "$0")" >/dev/null || exit 1
say() { if [ -t 2 ]; then printf '\033[2m· %s\033[0m\n' "$*" >&2; else printf '· %s\n' "$*" >&2; fi; }
fail() { printf 'heartwood: %s\n' "$*" >&2; exit 1; }

# sudo is used where it asks for no password: a question at each start would be worse than a line that says what to type
may_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Lines: command or file that proves it is there | Debian package | Homebrew formula | what does not work without it
runtime_needs='python3 -m ensurepip --version|python3-venv||hub at all
command -v tesseract|tesseract-ocr|tesseract|reading scans and photos
tesseract --list-langs 2>&1 | grep -qx eng|tesseract-ocr-eng|tesseract|reading English scans and photos
tesseract --list-langs 2>&1 | grep -qx deu|tesseract-ocr-deu|tesseract-lang|reading German scans and photos
command -v pdftoppm|poppler-utils|poppler|reading PDF files
[ "$(uname)" != Linux ] || command -v bwrap|bubblewrap||sandbox around document readers (limits still hold)'
test_needs='[ "$(uname)" != Linux ] || [ -x /usr/lib/postgresql/15/bin/postgres ]|postgresql-15||tests on PostgreSQL 15
command -v redis-server|redis-server|redis|tests of the Redis cache
command -v wrk|wrk|wrk|benchmarks of routes
[ "$(uname)" != Linux ] || command -v promtool|prometheus||check of the metrics by promtool'

missing() { # prints the lines of $1 whose proof fails
  printf '%s\n' "$1" | while IFS= read -r line; do
    proof=${line%|*|*|*}
    sh -c "$proof" >/dev/null 2>&1 </dev/null || printf '%s\n' "$line"
  done
}

install_system_packages() { # $1: lines as above
  lines=$(missing "$1")
  [ -z "$lines" ] && return
  tried=.tools/tried-system-packages # of the last day: what could not be installed is not tried at every start
  mkdir -p .tools
  packages=$(printf '%s\n' "$lines" | awk -F'|' '{ print $(NF-2) }' | sort -u)
  if [ -n "$(find "$tried" -mtime -1 2>/dev/null)" ] && [ "$(cat "$tried")" = "$packages" ]; then
    say "not tried again before tomorrow, or before $tried is removed"
  elif may_install; then
    say "installing" $packages
    # PostgreSQL and Redis run under our own supervision: no packaged cluster is made, no service is started.
    if printf '%s' "$packages" | grep -q postgresql && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      as_root mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    as_root apt-get update -qq || say "the list of packages could not be refreshed; going on with the one at hand"
    for package in $packages; do
      as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$package" \
        >/dev/null || say "could not install $package"
    done
    lines=$(missing "$1")
    printf '%s\n' "$lines" | awk -F'|' 'NF { print $(NF-2) }' | sort -u >"$tried"
  fi
  [ -z "$lines" ] && return
  debian=$(printf '%s\n' "$lines" | awk -F'|' '{ print $(NF-2) }' | sort -u | tr '\n' ' ')
  brew=$(printf '%s\n' "$lines" | awk -F'|' '$(NF-1) != "" { print $(NF-1) }' | sort -u | tr '\n' ' ')
  printf '%s\n' "$lines" | awk -F'|' '{ printf "  without %s: no %s\n", $(NF-2), $NF }' >&2
  if [ -e /etc/NIXOS ]; then say "NixOS: use the module in deploy/nixos"
  elif [ "$(uname)" = Darwin ]; then say "macOS: brew install ${brew% }"
  elif command -v apt-get >/dev/null; then say "Debian, Ubuntu: apt-get install --no-install-recommends ${debian% }"
  else say "your system's packages of the same kind as Debian's: ${debian% }"
  fi
}

find_python() {
  for python in python3 python3.14 python3.13 python3.12 python3.11; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  command -v python3 >/dev/null || fail "there is no python3; install Python 3.11 or newer"
  fail "Python 3.11 or newer is needed; python3 is $(python3 -c 'import platform; print(platform.python_version())')"
}

find_uv() {
  uv=$(command -v uv) && return
  uv=.tools/bin/uv
  [ -x "$uv" ] && return
  say "setting up uv in .tools"
  "$python" -m venv .tools && .tools/bin/pip install -q --disable-pip-version-check uv || fail "could not set up uv in .tools"
}

install_python_packages() { # $1: a list, of which everything is checked by hash; and the packages of this clone
  stamp=$(cat requirements*.lock core/pyproject.toml plugins/*/pyproject.toml setup.sh | cksum)
  place=$(cat .venv/heartwood-place 2>/dev/null) # scripts in .venv name it: in a clone that was moved they do not run
  if [ "$place" = "$PWD" ]; then # the list for the tests holds that for the hub
    case $(cat .venv/heartwood-stamp 2>/dev/null) in "$stamp $1" | "$stamp requirements-dev.lock") return ;; esac
  fi
  find_uv
  say "installing Python packages into .venv; the first time this takes a while"
  if [ "$place" != "$PWD" ] || [ ! -x .venv/bin/python ]; then
    rm -rf .venv
    "$uv" venv -q -p "$python" .venv || fail "could not make .venv"
    pwd >.venv/heartwood-place
  fi
  "$uv" pip sync -q -p .venv/bin/python --require-hashes "$1" || fail "could not install $1"
  list=$1
  set --
  for package in core plugins/*/; do set -- "$@" -e "$package"; done
  "$uv" pip install -q -p .venv/bin/python --no-deps "$@" || fail "could not install the packages of this clone"
  echo "$stamp $list" >.venv/heartwood-stamp
}
