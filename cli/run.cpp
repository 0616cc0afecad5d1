#include "cli/run.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

// What --timeout may take over there: SIGTERM, a second, SIGKILL, and the way back.
constexpr Nanos kBackstop = 3 * kSecond;

}  // namespace

std::string_view shell_hint(const std::vector<std::string>& command) {
  constexpr std::string_view kBuiltIn[] = {"cd",    "export", "source", ".",    "alias", "unset", "set",
                                           "umask", "ulimit", "eval",   "exec", "if",    "for",   "while"};
  const std::string& name = command.front();
  const bool is_line = command.size() == 1 && name.find_first_of(" \t\n|&;<>$*") != name.npos;
  if (!is_line && std::ranges::find(kBuiltIn, name) == std::end(kBuiltIn)) return {};
  return " (no shell reads this: use --sh '...')";
}

Run::Run(const Machinery& machinery, OnOver on_over)
    : FanOut(machinery, std::move(on_over)), works_(count()) {}

Run::~Run() {
  for (Work& work : works_) loop_.cancel(work.backstop);
}

// With many targets it would have to go to all of them, or to one by chance. What was opened for writing only
// is what nohup(1) puts there, so that nobody reads.
bool Run::forwards_stdin() const {
  return options_.targets.one && !options_.no_stdin && isatty(STDIN_FILENO) == 0 &&
         (::fcntl(STDIN_FILENO, F_GETFL) & O_ACCMODE) != O_WRONLY;
}

void Run::start_work(Index index, const Child& child) {
  const std::string& name = shown_name(target(index));
  output_.start(name, child.id, route(index), child.method);
  Work& work = works_[index];
  work.streams = std::make_unique<Output::Streams>(output_, name);

  ExecRequest request;
  request.argv = options_.command;
  request.shell = options_.shell;
  request.timeout = options_.timeout;
  request.has_stdin = forwards_stdin();
  Command::Callbacks callbacks;
  callbacks.on_output = [&work](bool is_err, Bytes bytes, Charge charge) {
    work.streams->write(is_err, as_text(bytes), std::move(charge));
  };
  callbacks.on_input_room = [this, index] { pump_input(index); };
  callbacks.on_input_closed = [this] { input_.reset(); };
  // Not in the middle of the link's own fall.
  callbacks.on_done = [this, index](Result<ExecOutcome> result) {
    loop_.post([this, index, result = std::move(result)] { on_done(index, result); });
  };
  work.command = std::make_unique<Command>(router_, child.id, std::move(request), std::move(callbacks));
  if (forwards_stdin()) start_input(index);
  if (options_.timeout > 0) arm_backstop(index, options_.timeout + kBackstop);
}

void Run::cancel_work(Index index) {
  input_.reset();
  works_[index].command->cancel();
}

void Run::give_up_work(Index index) {
  fail(
      index,
      make_error(ErrorClass::kCancelled, Phase::kCommand, "cancelled; no word of its end", Started::kUnknown),
      Verdict::kCancelled, work_began(index));
}

void Run::end_work(Index index) {
  Work& work = works_[index];
  // Part of a last line goes out before the reason why there is no more of it.
  if (work.streams) {
    work.streams->finish(false);
    work.streams->finish(true);
  }
  loop_.cancel(std::exchange(work.backstop, 0));
  if (work.command) input_.reset();
  work.command.reset();  // one that still runs is ended over there
}

void Run::on_done(Index index, const Result<ExecOutcome>& result) {
  if (!is_working(index)) return;  // we did not wait for it
  if (result) {
    on_outcome(index, *result);
  } else {
    on_failure(index, result.error());
  }
}

void Run::on_outcome(Index index, const ExecOutcome& outcome) {
  using Kind = ExecOutcome::Kind;
  using Ended = ExecOutcome::Ended;
  const Nanos since = work_began(index);
  auto ended_by = [&](ErrorClass error_class, std::string text, Verdict verdict) {
    fail(index, make_error(error_class, Phase::kCommand, std::move(text), Started::kYes), verdict, since);
  };
  switch (outcome.ended) {
    case Ended::kTimeout:
      return ended_by(ErrorClass::kTimeout,
                      cat("ended after ", in_seconds(options_.timeout), ", as --timeout says"),
                      Verdict::kTimeout);
    case Ended::kCancelled:
      return ended_by(ErrorClass::kCancelled, "cancelled", Verdict::kCancelled);
    case Ended::kEnding:
      return ended_by(ErrorClass::kDead, "its context was told to end", Verdict::kUnreachable);
    case Ended::kItself:
      break;
  }
  // With one target the code says it; where a shell would have said more, so do we.
  const bool many = !options_.targets.one;
  Ending ending{Verdict::kFailed, outcome.code};
  std::optional<int> signal;
  std::string text;
  switch (outcome.kind) {
    case Kind::kExited:
      if (outcome.code == 0) ending.verdict = Verdict::kOk;
      if (outcome.code != 0 && many) text = cat("exited with ", outcome.code);
      break;
    case Kind::kSignalled:
      signal = outcome.signal;
      ending.code = kExitSignalBase + outcome.signal;
      if (many) text = cat("killed by ", signal_name(outcome.signal));
      break;
    case Kind::kNotFound:
      ending.code = kExitNotFound;
      text = outcome.text;
      if (!options_.shell) text += shell_hint(options_.command);
      break;
    case Kind::kNotExecutable:
      ending.code = kExitNotExecutable;
      text = outcome.text;
      break;
    case Kind::kNotStarted:
      return fail(index, make_error(ErrorClass::kResource, Phase::kCommand, outcome.text, Started::kNo),
                  Verdict::kNotStarted, since);
  }
  end_work(index);
  output_.exit(shown_name(target(index)), signal ? std::nullopt : std::optional(ending.code), signal, text,
               loop_.now() - since);
  conclude(index, ending);
}

void Run::on_failure(Index index, const Error& error) {
  when_explained(index, [this, index, error] {
    if (!is_working(index)) return;
    Error told = lost(index).value_or(error);
    told.started = error.started;
    const bool refused =
        told.error_class == ErrorClass::kResource || told.error_class == ErrorClass::kRefused;
    fail(index, told, refused && told.started == Started::kNo ? Verdict::kNotStarted : Verdict::kUnreachable,
         work_began(index));
  });
}

void Run::arm_backstop(Index index, Nanos delay) {
  works_[index].backstop = loop_.after(delay, [this, index, due = loop_.now() + delay] {
    // It may be over for long and only its output unread: then nothing is wrong but our reader's pace. Or we
    // were stopped, and the word of its end is not read yet.
    if (!output_.is_idle() || loop_.now() > due + kSecond) return arm_backstop(index, kBackstop);
    fail(index,
         make_error(
             ErrorClass::kTimeout, Phase::kCommand,
             cat("no word of its end ", in_seconds(loop_.now() - work_began(index)), " after its start"),
             Started::kUnknown),
         Verdict::kTimeout, work_began(index));
  });
}

void Run::start_input(Index index) {
  input_ = std::make_unique<InputReader>(
      loop_, STDIN_FILENO,
      [this, index](Buffer piece) {
        input_ended_ = piece.empty();
        piece_ = std::move(piece);
        piece_begin_ = 0;
        pump_input(index);
      },
      [this, index](int error) { on_input_failed(index, error); });
}

// Half an input must not pass for the whole: its stream is cut off over there, never ended.
void Run::on_input_failed(Index index, int error) {
  if (!is_working(index)) return;
  end_work(index);
  output_.fail(shown_name(target(index)), route(index),
               make_error(ErrorClass::kIo, Phase::kCommand,
                          cat("standard input cannot be read: ", std::string_view(std::strerror(error))),
                          Started::kUnknown),
               loop_.now() - work_began(index));
  conclude(index, {Verdict::kFailed, kExitUnreachable});
}

void Run::pump_input(Index index) {
  Command* command = works_[index].command.get();
  if (command == nullptr || !input_) return;
  while (piece_begin_ < piece_.size()) {
    const std::size_t take = std::min(command->input_room(), piece_.size() - piece_begin_);
    if (take == 0) return;  // told when there is room
    command->write_input(Bytes(piece_).subspan(piece_begin_, take));
    piece_begin_ += take;
  }
  if (input_ended_) {
    command->finish_input();
    input_.reset();
  } else if (!piece_.empty()) {
    piece_.clear();
    piece_begin_ = 0;
    input_->go_on();
  }
}

}  // namespace banyan::cli
