// cli/ask.h -- asks the person: on the terminal, or through the program that SSH_ASKPASS names.
//
// One question at a time, first come first served. On the terminal (/dev/tty, whatever our standard
// descriptors are) secrets are not echoed, and everything is escaped. Whatever ends a question (an answer, a
// signal, a stop) puts the terminal back as it was. As ssh, the program is run where there is no terminal,
// and instead of it with SSH_ASKPASS_REQUIRE=force or, on a desktop, prefer; never forbids it.
//
// Never blocks: the terminal is opened anew and read as the loop says. Thread: the loop's.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/terminal.h"
#include "core/alive.h"
#include "core/fd.h"
#include "core/reaper.h"
#include "transports/secrets.h"

namespace banyan::cli {

constexpr Nanos kAnswerDeadline = 120 * kSecond;  // of a person; as a server's LoginGraceTime

// Where questions go, from the environment and whether there is a terminal.
enum class AskBy : std::uint8_t { kNobody, kTerminal, kProgram };
struct AskEnvironment {
  std::string program, require;  // SSH_ASKPASS, SSH_ASKPASS_REQUIRE
  bool has_display = false, has_terminal = false;
};
AskBy ask_by(const AskEnvironment& environment);
AskEnvironment ask_environment(const Terminal& terminal);  // of this process

// What somebody else says, as it is shown: escaped, without what only fills, shortened, and in rows that fit
// and begin with who says it, so that nothing on the screen looks like a line of ours or of ssh's.
std::string in_rows(std::string_view who, std::string_view text, std::size_t columns);

// What a read() of the terminal means, when nothing stands in its line yet and when something does.
enum class TerminalRead : std::uint8_t { kNothing, kBytes, kEnd, kFailed };
TerminalRead terminal_read(ssize_t got, int error, bool line_is_empty);

class Ask final : public Asker {
 public:
  // Around each question: what else is on the terminal's last line has to go, and may come back. The question
  // is shown when `then` is called.
  struct Hooks {
    std::function<void(std::function<void()> then)> on_begin;
    std::function<void()> on_end;
  };

  // The terminal outlives this.
  Ask(Loop& loop, Terminal& terminal, AskEnvironment environment);
  Ask(const Ask&) = delete;
  Ask& operator=(const Ask&) = delete;
  ~Ask() override;

  void set_hooks(Hooks hooks) { hooks_ = std::move(hooks); }

  bool can_ask() const override { return by_ != AskBy::kNobody && !closed_; }
  Id ask(Question question, OnAnswer on_answer) override;
  void cancel(Id id) override;
  bool is_waiting(Id id) const override;

  // A question is before the person.
  bool is_asking() const { return current_.has_value(); }
  // Nothing is asked any more: the terminal is as it was, and whoever waits is told kDeclined, from the loop.
  void close();
  // This process was stopped, and goes on.
  void resume();

 private:
  struct Waiting {
    Id id = 0;
    Question question;
    OnAnswer on_answer;
  };

  void start_next();
  void show_item();
  void take(Secret answer);
  void finish(Outcome outcome, std::string problem = {});

  void show_on_terminal();
  void close_terminal();
  void write_terminal(std::string_view text);
  void read_terminal();
  bool is_behind() const;
  void wait_for_foreground();
  std::string text_before(std::size_t columns) const;
  std::string text_of_item(std::size_t columns) const;

  void run_program();
  void read_program();
  void on_program_end(int status);
  void end_program();

  Loop& loop_;
  const AskEnvironment environment_;
  const AskBy by_;
  Terminal& modes_;
  Hooks hooks_;
  std::deque<Waiting> waiting_;
  std::optional<Waiting> current_;
  std::vector<Secret> answers_;  // to the items before the one that is shown
  Loop::TimerId deadline_ = 0, look_again_ = 0;
  bool closed_ = false, said_background_ = false;
  Id next_ = 1;

  Fd terminal_;  // while a question is there
  Loop::WatchId terminal_watch_ = 0;
  std::string unwritten_;
  Buffer line_;  // what was typed so far; never moves

  std::unique_ptr<ChildProcess> program_;
  Fd output_;
  Loop::WatchId output_watch_ = 0;
  Alive alive_;
};

}  // namespace banyan::cli
