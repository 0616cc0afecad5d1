#include "parent/transport_terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kTextMax = 1024;  // of what was printed there: a prompt is a line
constexpr std::size_t kReadMax = 4 * 1024;
constexpr std::uint32_t kVisitor = 1;  // there is one

Error no_terminal(std::string_view what) {
  Error error = system_error(ErrorClass::kResource, Phase::kConnect,
                             cat("a terminal for the transport: ", what), errno);
  error.remedy = "there /dev/pts must be mounted, and have one to give";
  return error;
}

}  // namespace

Result<std::unique_ptr<TransportTerminal>> TransportTerminal::open(Loop& loop, Answerer* answerer,
                                                                   OnAsks on_asks) {
  std::unique_ptr<TransportTerminal> made(new TransportTerminal(loop, answerer, std::move(on_asks)));
  made->ours_ = Fd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  int unlocked = 0, number = 0, packets = 1;
  if (!made->ours_ || ::ioctl(made->ours_.get(), TIOCSPTLCK, &unlocked) != 0 ||
      ::ioctl(made->ours_.get(), TIOCGPTN, &number) != 0)
    return no_terminal("/dev/ptmx");
  made->path_ = cat("/dev/pts/", number);
  made->theirs_ = Fd(::open(made->path_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!made->theirs_) return no_terminal(made->path_);
  // So that we also hear of changes of its modes that nothing is printed with.
  ::ioctl(made->ours_.get(), TIOCPKT, &packets);
  made->watch_ =
      loop.watch(made->ours_.get(), {.read = true}, [terminal = made.get()](Ready) { terminal->on_ready(); });
  return made;
}

TransportTerminal::~TransportTerminal() {
  *alive_ = false;
  hang_up();
}

void TransportTerminal::hang_up() {
  mute();
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
  if (ours_) loop_.close(ours_.release());
  theirs_.reset();
}

void TransportTerminal::mute() {
  answerer_ = nullptr;
  if (std::exchange(waits_, false) && *alive_) on_asks_(false);
}

void TransportTerminal::on_ready() {
  std::uint8_t bytes[kReadMax];
  const IoResult result = loop_.read(ours_.get(), bytes, sizeof bytes);
  if (result.status == IoResult::Status::kWouldBlock) return;
  if (result.status != IoResult::Status::kOk) {
    // Hung up by the other side; with our own end of it open that does not happen, and must not spin.
    return loop_.unwatch(std::exchange(watch_, 0));
  }
  // The first byte says what this is: 0 for what was printed.
  if (bytes[0] == 0 && answerer_ != nullptr) {
    text_.append(as_text(Bytes(bytes, result.bytes).subspan(1)));
    if (text_.size() > kTextMax) text_.erase(0, text_.size() - kTextMax);
  }
  look();
}

bool TransportTerminal::is_unseen() const {
  termios modes{};
  return ours_ && ::tcgetattr(ours_.get(), &modes) == 0 && (modes.c_lflag & ECHO) == 0;
}

void TransportTerminal::look() {
  const bool unseen = is_unseen();
  if (std::exchange(was_unseen_, unseen) == unseen || !unseen || answerer_ == nullptr || waits_) return;
  waits_ = true;
  on_asks_(true);
  const std::string text = text_.empty() ? std::string("?") : std::exchange(text_, {});
  answerer_->ask(kVisitor, as_bytes(text), [this, alive = alive_](Bytes answer) {
    if (*alive) on_answer(answer);
  });
}

// Whoever asked may have gone; then what is written would be seen, or be somebody else's.
void TransportTerminal::on_answer(Bytes answer) {
  if (!std::exchange(waits_, false)) return;
  on_asks_(false);
  if (answer.empty() || answerer_ == nullptr || !is_unseen()) return hang_up();
  Buffer line(answer.begin(), answer.end());
  line.push_back('\n');
  const iovec part{line.data(), line.size()};
  const IoResult result = loop_.write(ours_.get(), &part, 1);
  ::explicit_bzero(line.data(), line.size());
  if (result.status != IoResult::Status::kOk || result.bytes != line.size()) hang_up();
}

std::vector<std::string> argv_on_terminal(std::vector<std::string> argv, std::string_view path,
                                          bool is_input) {
  // As part of the last exec: what a shell opens for itself it may keep from its programs.
  const std::string line =
      is_input ? cat("exec \"$@\" ", kLinkDescriptor, "<&0 <>", path) : cat(": <>", path, "; exec \"$@\"");
  argv.insert(argv.begin(), {"/bin/sh", "-c", line, "sh"});
  return argv;
}

}  // namespace banyan
