# bootstrap/stage0.sh -- what the far end's shell runs: makes room for the loader, receives it, becomes it.
#
# The build strips these comments and joins the lines (bootstrap/join_stage0.cmake); parent/api/stage0.cpp fills in what
# stands between @ and wraps it as exec sh -c with single quotes around, for whatever login shell is there. So no
# single quote, no backslash, no exclamation mark in here: csh and fish read some of them even inside quotes.
# Everything the parent reads stands on a line of its own behind a marker with its nonce. The marker is split in
# this text, so that a terminal or a shell that echoes its command is not mistaken for us.

# The file must be private, the commands to come want the umask as it was.
_u=$(umask)
umask 77
# > then creates exclusively: nobody can have put a file or a link there for us to fall for.
set -C
_f=
_x=

# q WORD: leave nothing behind and say why, unless the ready line has said it.
q() {
  _e=$?
  trap - 1 2 13 15
  if [ "$_f" ]; then rm -f "$_f"; fi
  if [ "$1" ]; then
    echo
    echo "BANYAN-""ERROR @nonce@ $_e $1"
  fi
  exit 1
}
trap "q stopped" 1 2 13 15

for _c in chmod rm uname; do
  command -v $_c >/dev/null 2>&1 || _x=$_x,$_c
done
_r=dd
command -v dd >/dev/null 2>&1 || _r=printf
command -v $_r >/dev/null 2>&1 || _x=$_x,dd
if [ -t 0 ]; then
  stty raw -echo 2>/dev/null || _x=$_x,stty
fi
_m=$(uname -m 2>/dev/null)

# The first folder where we may write and execute. Running the file, still empty, is the only sure test for noexec.
# Where something is missing none is made: perhaps it could not be removed.
_t=
[ "$_x" ] || for _d in ${XDG_RUNTIME_DIR:+"$XDG_RUNTIME_DIR"} /dev/shm /tmp /var/tmp ${HOME:+"$HOME"} .; do
  _f=$_d/.banyan-@nonce@.$$
  # Where something lies that is no file, a device or a pipe, > opens that, and it may be a link of somebody
  # who has read our command line. Who is quicker than this look is found by the next.
  if [ -e "$_f" ] || [ -h "$_f" ]; then
    _f=
    _t="$_t $_d"
    continue
  fi
  { true >"$_f"; } 2>/dev/null && {
    [ -h "$_f" ] || [ -s "$_f" ] || { [ -f "$_f" ] && [ -O "$_f" ] && chmod 700 "$_f" && "$_f" && break; }
    rm -f "$_f"
  } 2>/dev/null
  _f=
  _t="$_t $_d"
done

echo
echo "BANYAN-""READY @nonce@ ${_m:--} $_r ${_x:--} ${_f:--$_t}"
if [ "$_x" ] || [ -z "$_f" ]; then q; fi
# Where the architecture was known before, loader and image are under way already, and fit only this machine and dd.
case $_r,$_m in
  @expected@) ;;
  *) q ;;
esac

if [ $_r = dd ]; then
  # An exact count: what follows belongs to the loader. A dd that does not know fullblock has read nothing yet.
  dd of="$_f" bs=@bytes@ count=1 iflag=fullblock 2>/dev/null || [ -s "$_f" ] || dd of="$_f" bs=1 count=@bytes@ 2>/dev/null
  [ "$(dd if="$_f" bs=1 skip=@tail@ 2>/dev/null)" = banyan ] || q upload
else
  # Octal, a line at a time; bash reads ahead on a terminal, so the parent sends the image only after the answer.
  while read -r _l && case $_l in .) false ;; esac; do
    printf "$_l"
  done >>"$_f"
  [ "$_l" = . ] || q upload
  echo
  echo "BANYAN-""LOADED @nonce@"
fi

# Several shells just end when exec fails. Without arguments the loader does nothing and says that it can run.
"$_f" || q exec
umask $_u
exec "$_f" "$_f" @nonce@
