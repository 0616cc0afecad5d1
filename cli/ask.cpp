#include "cli/ask.h"

#include <fcntl.h>
#include <signal.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cli/printable.h"
#include "core/nonblocking.h"
#include "core/spawn.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kLineMax = 4'096;  // of a terminal's line; longer ones it does not give
constexpr Nanos kLookAgain = 250 * kMillisecond;
constexpr std::size_t kColumns = 80;    // where nobody tells
constexpr std::size_t kShownMax = 200;  // characters of a foreign line: more is no question

bool is(std::string_view text, const char* word) {
  return ::strcasecmp(std::string(text).c_str(), word) == 0;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Without the end of its line.
Secret first_line(Bytes bytes) {
  const auto is_end = [](std::uint8_t c) { return c == '\n' || c == '\r' || c == '\0'; };
  const auto end = std::ranges::find_if(bytes, is_end);
  return Secret::copy_of(bytes.first(std::size_t(end - bytes.begin())));
}

std::size_t columns_of(int terminal) {
  winsize size{};
  return ::ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kColumns;
}

// Of printable text: how many bytes its first character has, and how many columns it takes at most.
std::size_t character_bytes(std::string_view text) {
  std::size_t bytes = 1;
  while (bytes < text.size() && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) ++bytes;
  return bytes;
}
std::size_t columns_taken(std::size_t character_bytes) {
  return character_bytes == 1 ? 1 : 2;
}

// The first characters that take no more than so many columns.
std::string_view beginning(std::string_view text, std::size_t columns) {
  std::size_t at = 0;
  for (std::size_t taken = 0; at < text.size();) {
    const std::size_t bytes = character_bytes(text.substr(at));
    taken += columns_taken(bytes);
    if (taken > columns) break;
    at += bytes;
  }
  return text.substr(0, at);
}

std::string squeezed(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\t';
    if (!blank || !out.ends_with(' ')) out += blank ? ' ' : c;
  }
  return out;
}

// A read behind the foreground is to fail, and not to stop us and all the hosts with us.
ssize_t read_unstopped(int terminal, std::uint8_t* to, std::size_t max) {
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTTIN);
  ::pthread_sigmask(SIG_BLOCK, &stop, &before);
  const ssize_t got = retry([&] { return ::read(terminal, to, max); });
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return got;
}

}  // namespace

std::string in_rows(std::string_view who, std::string_view text, std::size_t columns) {
  std::string prefix = printable(who);
  if (beginning(prefix, columns / 2).size() < prefix.size())
    prefix = cat(beginning(prefix, columns / 2), "... ");
  std::string shown = printable(squeezed(text));
  if (const std::size_t kept = beginning(shown, kShownMax).size(); kept < shown.size()) {
    shown.resize(kept);
    shown += "...";
  }
  // The last column stays free: in it, terminals differ about where the next row begins.
  const std::size_t taken = prefix.size() + 1;
  const std::size_t room = columns > taken + 2 ? columns - taken : 2;
  std::string rows;
  std::string_view rest = shown;
  do {
    const std::string_view row = beginning(rest, room);
    rest.remove_prefix(row.size());
    rows += cat(rows.empty() ? "" : "\n", prefix, row);
  } while (!rest.empty());
  return rows;
}

TerminalRead terminal_read(ssize_t got, int error, bool line_is_empty) {
  if (got > 0) return TerminalRead::kBytes;
  if (got < 0) return error == EAGAIN || error == EINTR ? TerminalRead::kNothing : TerminalRead::kFailed;
  return line_is_empty ? TerminalRead::kFailed : TerminalRead::kEnd;
}

AskBy ask_by(const AskEnvironment& environment) {
  const bool may_run = !environment.program.empty() && !is(environment.require, "never");
  if (may_run && is(environment.require, "force")) return AskBy::kProgram;
  if (may_run && is(environment.require, "prefer") && environment.has_display) return AskBy::kProgram;
  if (environment.has_terminal) return AskBy::kTerminal;
  return may_run ? AskBy::kProgram : AskBy::kNobody;
}

AskEnvironment ask_environment(const Terminal& terminal) {
  return {.program = variable("SSH_ASKPASS"),
          .require = variable("SSH_ASKPASS_REQUIRE"),
          .has_display = !variable("DISPLAY").empty() || !variable("WAYLAND_DISPLAY").empty(),
          .has_terminal = terminal.modes().has_value()};
}

Ask::Ask(Loop& loop, Terminal& terminal, AskEnvironment environment)
    : loop_(loop), environment_(std::move(environment)), by_(ask_by(environment_)), modes_(terminal) {
  line_.reserve(kLineMax);
}

Ask::~Ask() {
  *alive_ = false;
  loop_.cancel(deadline_);
  loop_.cancel(look_again_);
  close_terminal();
  end_program();
  wipe(line_);
}

// --- the queue ---

Asker::Id Ask::ask(Question question, OnAnswer on_answer) {
  const Id id = next_++;
  waiting_.push_back({id, std::move(question), std::move(on_answer)});
  loop_.post([this, alive = alive_] {
    if (*alive) start_next();
  });
  return id;
}

void Ask::start_next() {
  if (current_ || waiting_.empty()) return;
  current_ = std::move(waiting_.front());
  waiting_.pop_front();
  if (closed_) return finish(Outcome::kDeclined);
  if (by_ == AskBy::kNobody) return finish(Outcome::kNobody);
  deadline_ = loop_.after(kAnswerDeadline, [this] { finish(Outcome::kTimeout); });
  if (!hooks_.on_begin) return show_item();
  hooks_.on_begin([this, alive = alive_, id = current_->id] {
    if (*alive && current_ && current_->id == id && !closed_) show_item();
  });
}

void Ask::show_item() {
  if (answers_.size() == current_->question.items.size()) return finish(Outcome::kAnswered);
  if (by_ == AskBy::kTerminal) return show_on_terminal();
  run_program();
}

void Ask::take(Secret answer) {
  answers_.push_back(std::move(answer));
  show_item();
}

void Ask::finish(Outcome outcome, std::string problem) {
  loop_.cancel(std::exchange(deadline_, 0));
  close_terminal();
  end_program();
  const bool was_shown = !closed_ && by_ != AskBy::kNobody;
  Waiting done = std::move(*current_);
  current_.reset();
  Answer answer{.outcome = outcome, .secrets = {}, .problem = std::move(problem)};
  if (outcome == Outcome::kAnswered) answer.secrets = std::move(answers_);
  answers_.clear();
  if (was_shown && hooks_.on_end) hooks_.on_end();
  loop_.post([this, alive = alive_] {
    if (*alive) start_next();
  });
  done.on_answer(std::move(answer));
}

void Ask::cancel(Id id) {
  std::erase_if(waiting_, [id](const Waiting& waiting) { return waiting.id == id; });
  if (!current_ || current_->id != id) return;
  if (terminal_) write_terminal("\n");
  current_->on_answer = [](const Answer&) {};
  finish(Outcome::kDeclined);
}

bool Ask::is_waiting(Id id) const {
  return std::ranges::any_of(waiting_, [id](const Waiting& waiting) { return waiting.id == id; });
}

void Ask::close() {
  if (std::exchange(closed_, true)) return;
  if (terminal_) write_terminal("\n");
  close_terminal();
  end_program();
  if (!current_) return;
  if (hooks_.on_end) hooks_.on_end();
  loop_.post([this, alive = alive_] {
    if (*alive && current_) finish(Outcome::kDeclined);
  });
}

// --- the terminal ---

void Ask::show_on_terminal() {
  if (!terminal_) {
    terminal_ = Fd(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (!terminal_) return finish(Outcome::kNobody);
  }
  if (is_behind()) return wait_for_foreground();
  const Question::Item& item = current_->question.items[answers_.size()];
  modes_.restore();
  std::optional<termios> modes = modes_.modes();
  if (!modes) return finish(Outcome::kNobody);
  modes->c_lflag |= ICANON | ISIG;
  modes->c_iflag |= ICRNL;
  if (!item.echo) modes->c_lflag &= ~tcflag_t(ECHO | ECHOE | ECHOK | ECHONL);
  if (!modes_.change(*modes)) return finish(Outcome::kNobody);
  // What was typed before the question was seen is no answer to it.
  ::tcflush(terminal_.get(), TCIFLUSH);
  wipe(line_);
  if (terminal_watch_ == 0)
    terminal_watch_ = loop_.watch(terminal_.get(), {.read = true}, [this](Ready ready) {
      if (ready.write) write_terminal("");
      if (ready.read) read_terminal();
    });
  const std::size_t columns = columns_of(terminal_.get());
  write_terminal(cat(text_before(columns), text_of_item(columns)));
}

std::string Ask::text_before(std::size_t columns) const {
  std::string text;
  const Question& question = current_->question;
  if (!answers_.empty()) return text;
  for (const std::string& line : question.lines)
    text += cat(question.who.empty() ? printable(line) : in_rows(question.who, line, columns), "\n");
  return text;
}

std::string Ask::text_of_item(std::size_t columns) const {
  const Question& question = current_->question;
  const std::string& text = question.items[answers_.size()].text;
  return question.who.empty() ? printable(text) : in_rows(question.who, text, columns);
}

bool Ask::is_behind() const {
  const pid_t front = ::tcgetpgrp(terminal_.get());
  return front > 0 && front != ::getpgrp();
}

// What is typed meanwhile is for others. Who asks there would be stopped, with all the hosts that need no
// answer.
void Ask::wait_for_foreground() {
  if (terminal_watch_ != 0) loop_.unwatch(std::exchange(terminal_watch_, 0));
  wipe(line_);
  unwritten_.clear();
  if (!std::exchange(said_background_, true))
    write_terminal("banyan: a question waits until it is in the foreground (fg)\n");
  loop_.cancel(look_again_);
  look_again_ = loop_.after(kLookAgain, [this] {
    look_again_ = 0;
    show_on_terminal();
  });
}

// What the terminal does not take now is written when it does.
void Ask::write_terminal(std::string_view text) {
  unwritten_ += text;
  while (!unwritten_.empty()) {
    const ssize_t put = retry([&] { return ::write(terminal_.get(), unwritten_.data(), unwritten_.size()); });
    if (put <= 0) break;
    unwritten_.erase(0, std::size_t(put));
  }
  if (terminal_watch_ != 0) loop_.change(terminal_watch_, {.read = true, .write = !unwritten_.empty()});
}

void Ask::read_terminal() {
  if (is_behind()) return wait_for_foreground();
  std::uint8_t bytes[kLineMax];
  const ssize_t got = read_unstopped(terminal_.get(), bytes, sizeof bytes);
  const TerminalRead read = terminal_read(got, errno, line_.empty());
  if (read == TerminalRead::kNothing) return;
  if (read == TerminalRead::kFailed) {
    if (is_behind()) return wait_for_foreground();
    write_terminal("\n");
    return finish(Outcome::kDeclined);
  }
  const std::size_t taken = std::min(std::size_t(std::max<ssize_t>(got, 0)), kLineMax - line_.size());
  line_.insert(line_.end(), bytes, bytes + taken);
  ::explicit_bzero(bytes, sizeof bytes);
  if (got > 0 && std::ranges::find(line_, '\n') == line_.end() && line_.size() < kLineMax) return;
  if (!current_->question.items[answers_.size()].echo) write_terminal("\n");
  Secret answer = first_line(line_);
  wipe(line_);
  if (answer.bytes().size() <= kSecretMax) return take(std::move(answer));
  write_terminal("That is too long.\n");
  show_item();
}

void Ask::close_terminal() {
  loop_.cancel(std::exchange(look_again_, 0));
  if (!terminal_) return;
  modes_.restore();
  wipe(line_);
  unwritten_.clear();
  if (terminal_watch_ != 0) loop_.unwatch(std::exchange(terminal_watch_, 0));
  loop_.close(terminal_.release());
}

void Ask::resume() {
  if (!terminal_ || closed_) return;
  loop_.cancel(std::exchange(look_again_, 0));
  if (terminal_watch_ != 0 && !is_behind()) write_terminal("\n");
  show_on_terminal();
}

// --- the program ---

void Ask::run_program() {
  Result<FdPair> output = make_pipe();
  if (!output) return finish(Outcome::kFailed, output.error().text);
  const std::string text = cat(text_before(kColumns), text_of_item(kColumns));
  SpawnOptions options;
  options.die_with_parent = true;
  const Spawned spawned = SpawnPlan({environment_.program, text}, std::move(options))
                              .run({.in = -1, .out = output->second.get(), .err = STDERR_FILENO});
  if (spawned.pid < 0)
    return finish(Outcome::kFailed, cat("the program of SSH_ASKPASS, ", environment_.program,
                                        ", cannot be started: ", std::strerror(spawned.error)));
  wipe(line_);
  output_ = std::move(output->first);
  ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  output_watch_ = loop_.watch(output_.get(), {.read = true}, [this](Ready) { read_program(); });
  program_ = std::make_unique<ChildProcess>(loop_, spawned.pid, false,
                                            [this](int status) { on_program_end(status); });
}

void Ask::read_program() {
  std::uint8_t bytes[kLineMax];
  while (output_) {
    const ssize_t got = retry([&] { return ::read(output_.get(), bytes, sizeof bytes); });
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      loop_.unwatch(std::exchange(output_watch_, 0));
      loop_.close(output_.release());
      break;
    }
    const std::size_t taken = std::min(std::size_t(got), kLineMax - line_.size());
    line_.insert(line_.end(), bytes, bytes + taken);
  }
  ::explicit_bzero(bytes, sizeof bytes);
}

void Ask::on_program_end(int status) {
  read_program();
  Secret answer = first_line(line_);
  end_program();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || answer.bytes().size() > kSecretMax)
    return finish(Outcome::kDeclined);
  take(std::move(answer));
}

void Ask::end_program() {
  if (output_watch_ != 0) loop_.unwatch(std::exchange(output_watch_, 0));
  if (output_) loop_.close(output_.release());
  wipe(line_);
  if (!program_) return;
  if (program_->has_ended()) {
    // From its own call, perhaps.
    loop_.post([ended = std::shared_ptr<ChildProcess>(std::move(program_))] {});
    return;
  }
  program_.reset();  // killed, and reaped
}

}  // namespace banyan::cli
