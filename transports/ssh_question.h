// transports/ssh_question.h -- asking the system's ssh for its settings of a host: `ssh -G`, which connects
// nowhere.
//
// Never blocks. So many run at once, and the rest wait their turn; each has a deadline (a `Match exec` of the
// configuration runs whatever it likes), and what it says is bounded. Equal questions are asked once, and the
// answer is kept for the next one who asks: a configuration that changes during a run is not seen. Between
// runs answers are kept by SshAnswers.
//
// Thread: the loop's. The loop outlives it. It is destroyed with questions open: their processes are killed,
// and nobody is told.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/alive.h"
#include "core/reaper.h"
#include "transports/openssh.h"
#include "transports/ssh_answers.h"
#include "transports/ssh_settings.h"

namespace banyan {

constexpr std::size_t kSshQuestionsMax = 8;  // running at once: each is a process, and takes some 5 ms
constexpr Nanos kSshQuestionDeadline = 5 * kSecond;

class SshQuestions {
 public:
  using Answer = Result<std::shared_ptr<const SshSettings>>;
  using OnAnswer = Function<void(const Answer&)>;

  // `argv0`: the program to ask. `answers`: of earlier runs; may be null, else it outlives this.
  SshQuestions(Loop& loop, LocalUser local, std::string argv0 = "ssh", SshAnswers* answers = nullptr);
  SshQuestions(const SshQuestions&) = delete;
  SshQuestions& operator=(const SshQuestions&) = delete;
  ~SshQuestions();

  // `on_answer` comes once, from the loop and never from within this call; it may ask on.
  void ask(const SshTarget& target, const SshOptions& options, OnAnswer on_answer);

  const LocalUser& local() const { return local_; }
  // How many processes were started for answers.
  std::size_t asked() const { return asked_; }

 private:
  class Question;
  using Key = std::vector<std::string>;  // the argument vector
  struct Entry {
    std::unique_ptr<Question> question;  // while it is asked
    std::vector<OnAnswer> waiting;
    std::shared_ptr<const Answer> answer;  // then
  };
  void start_more();
  void start(const Key& key);
  void on_output(const Key& key, std::string_view output);
  void on_done(const Key& key, Answer answer);
  void forget_old();

  Loop& loop_;
  const LocalUser local_;
  const std::string argv0_;
  SshAnswers* const answers_;
  std::map<Key, Entry> entries_;
  std::deque<Key> queue_;     // not asked yet
  std::deque<Key> answered_;  // in that order; the oldest is forgotten first
  std::size_t running_ = 0, asked_ = 0;
  Alive alive_;
};

// The argument vector of the question.
std::vector<std::string> ssh_question_argv(std::string argv0, const SshTarget& target,
                                           const SshOptions& options);

}  // namespace banyan
