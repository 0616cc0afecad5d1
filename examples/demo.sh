#!/usr/bin/env bash
# demo.sh PROGRAM -- banyan at work, on this machine alone; ./dev demo builds it and runs this.
#
# Starts an SSH server of its own on the loopback interface, with its own keys in a temporary folder, and ends both.
# Needs sshd, ssh and ssh-keygen. As root it logs in as root, else as whoever runs it.
set -euo pipefail

program=$(realpath "${1:?usage: demo.sh PROGRAM}")
[[ -x $program ]] || { echo "demo: there is no $program" >&2; exit 1; }
PATH=$(dirname "$program"):$PATH:/usr/sbin:/sbin
me=$(id -un)
sshd=$(type -P sshd) || { echo "demo: needs an SSH server, sshd" >&2; exit 1; }

bold='' dim='' green='' red='' plain='' slowly=''
if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m' slowly=1
fi

say() { printf '\n%s# %s%s\n' "$dim" "$*" "$plain"; }

# Shows the command as somebody would type it, and runs it.
show() {
  local word line='' i
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:@=+,-]+$ ]] || word="'$word'"
    line+="${line:+ }$word"
  done
  printf '%s$ ' "$bold"
  if [[ $slowly ]]; then
    for ((i = 0; i < ${#line}; i++)); do printf '%s' "${line:i:1}"; read -rt 0.012 <> <(:) || true; done
  else
    printf '%s' "$line"
  fi
  printf '%s\n' "$plain"
  "$@" </dev/null
}

# --- what may be left ----------------------------------------------------------------------------------------

# Files we could leave: in the folders that an image is sent to.
files() {
  local folder
  for folder in "${XDG_RUNTIME_DIR-}" /dev/shm /tmp /var/tmp "$HOME"; do
    [[ -d $folder ]] && find "$folder" -maxdepth 1 -name '.banyan*' -user "$me" -newer "$demo/started" 2>/dev/null
  done | sort -u
}

# Processes that run our program, or an image of ours in memory, for this show: others may be at work here too.
processes() {
  local exe
  for exe in /proc/[0-9]*/exe; do
    case $(readlink "$exe" 2>/dev/null) in
      "$program"* | '/memfd:banyan'*)
        grep -qz -e "^BANYAN_CACHE=$demo/" -e "^SSH_CONNECTION=.* $port\$" "${exe%/exe}/environ" 2>/dev/null &&
          echo "$(basename "$(dirname "$exe")") $(tr '\0' ' ' <"${exe%/exe}/cmdline")"
        ;;
    esac
  done
}

demo=$(mktemp -d)
server='' port=''
run_folder=''
finish() {
  [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$demo"
  [[ -z $run_folder ]] || rmdir "$run_folder" || true
}
trap finish EXIT
export BANYAN_CACHE=$demo/cache # what it learns about hosts; usually under ~/.cache
touch "$demo/started"

# --- a throw-away SSH server ---------------------------------------------------------------------------------

start_server() {
  local attempt pam=no
  ssh-keygen -q -t ed25519 -N '' -f "$demo/host_key"
  ssh-keygen -q -t ed25519 -N '' -f "$demo/user_key"
  cp "$demo/user_key.pub" "$demo/authorized_keys"
  # As root, sshd wants this folder to be there, and empty.
  [[ $EUID -ne 0 || -e /run/sshd ]] || { mkdir -m 755 /run/sshd && run_folder=/run/sshd; }
  # Without PAM, sshd refuses an account whose password is locked, as root's often is.
  [[ $EUID -ne 0 || $(getent shadow root) != 'root:!'* ]] || pam=yes
  for ((attempt = 0; attempt < 20; attempt++)); do
    port=$((20000 + RANDOM % 12000))
    cat >"$demo/sshd_config" <<CONFIG
ListenAddress 127.0.0.1
Port $port
HostKey $demo/host_key
PidFile none
AuthorizedKeysFile $demo/authorized_keys
StrictModes no
UsePAM $pam
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
CONFIG
    : >"$demo/log"
    "$sshd" -D -f "$demo/sshd_config" -E "$demo/log" &
    server=$!
    while kill -0 "$server" 2>/dev/null; do
      grep -q '^Server listening' "$demo/log" && break 2
      read -rt 0.02 <> <(:) || true
    done
    wait "$server" || true
    server=''
    grep -q 'Address already in use' "$demo/log" || break
  done
  [[ $server ]] || { cat "$demo/log" >&2; echo "demo: could not start an SSH server" >&2; exit 1; }
  echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$demo/host_key.pub")" >"$demo/known_hosts"
  cat >"$demo/ssh_config" <<CONFIG
Host web db
  HostName 127.0.0.1
  Port $port
  User $me
  IdentityFile $demo/user_key
  IdentitiesOnly yes
  UserKnownHostsFile $demo/known_hosts
CONFIG
}

# --- the show ------------------------------------------------------------------------------------------------

cd "$demo" # so that names are short

say "A context on this machine: banyan starts its agent from memory, and the agent runs the command."
show banyan run local -- uname -srm

say "Three contexts side by side. Each line says where it comes from."
# shellcheck disable=SC2016  # expanded by the shell over there
show banyan run 'local[1-3]' --sh 'echo "shell $$, started by $(readlink /proc/$PPID/exe)"'

start_server
say "An SSH host that has nothing but a shell: here a throw-away server on the loopback interface."
show banyan run -F ssh_config web -- uname -srm

say "The exit code is the command's own; standard input, output and error are separate, as with ssh."
code=0
show banyan run -F ssh_config web --sh 'echo to stdout; echo to stderr >&2; exit 7' || code=$?
echo "exit code $code"

say "Local contexts and the SSH host at once, and the tree they make."
show banyan run -F ssh_config 'local[1-2],web' -- id -un
show banyan tree -F ssh_config 'local[1-2],web'

say "A host behind a host: db is reached by web's own ssh, with a key that never leaves here (db is the same server again)."
# shellcheck disable=SC2016  # as above
show banyan run -F ssh_config web/db --sh 'echo "logged in from ${SSH_CLIENT%% *}; key agent there: ${SSH_AUTH_SOCK-none}"'
show banyan tree -F ssh_config 'web/db,web/db/local'

kill "$server" && { wait "$server" || true; } 2>/dev/null
server=''

say "And what is left of all that?"
mapfile -t after < <(processes)
mapfile -t left < <(files)
bad=0
if [[ ${#after[@]} -eq 0 ]]; then
  echo "processes: none"
else
  for process in "${after[@]}"; do echo "${red}process: $process$plain"; done
  bad=1
fi
if [[ ${#left[@]} -eq 0 ]]; then
  echo "files:     none"
else
  for file in "${left[@]}"; do echo "${red}file: $file$plain"; done
  bad=1
fi
[[ $code -eq 7 && $bad -eq 0 ]] || { printf '\n%sdemo: not as it should be%s\n' "$red" "$plain"; exit 1; }
printf '\n%sThat was banyan. The commands in full: build/banyan --help. To read: docs/README.md.%s\n' "$green" "$plain"
