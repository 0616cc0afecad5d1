#include "transports/ssh_question.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "core/bytes.h"
#include "core/spawn.h"
#include "core/text.h"

namespace banyan {
namespace {

constexpr std::size_t kAnswerMax = 256 * 1024;     // an honest one is some 5 KiB
constexpr std::size_t kComplaintMax = 256 * 1024;  // with -v a line for each Host that matches
constexpr std::size_t kAnswersKept = 1'024;        // some 20 KiB each
constexpr std::size_t kReadSize = 16 * 1024;

std::string_view last_line_of(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const std::size_t begin = text.rfind('\n');
  return begin == std::string_view::npos ? text : text.substr(begin + 1);
}

std::string_view line_with(std::string_view text, std::string_view part) {
  const std::size_t at = text.find(part);
  const std::size_t before = text.rfind('\n', at);
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  std::string_view line = text.substr(begin, text.find('\n', at) - begin);
  while (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

Error refused(std::string_view complaint, int status) {
  if (const Symptom* symptom = find_symptom(openssh_symptoms(), complaint))
    return Error{symptom->error_class, symptom->phase, line_with(complaint, symptom->text), symptom->remedy};
  std::string text = "ssh -G failed";
  if (const std::string_view line = last_line_of(complaint); !line.empty()) {
    text = line;
  } else if (WIFSIGNALED(status)) {
    text = cat("ssh -G was killed by signal ", WTERMSIG(status));
  }
  return Error{ErrorClass::kIo, Phase::kResolve, text, "see what ssh -G says about this host"};
}

// The same, with word of the files that are read.
std::vector<std::string> telling(std::vector<std::string> argv) {
  argv.insert(argv.begin() + 1, "-v");
  return argv;
}

std::int64_t wall_clock_seconds() {
  return ::time(nullptr);
}

}  // namespace

std::vector<std::string> ssh_question_argv(std::string argv0, const SshTarget& target,
                                           const SshOptions& options) {
  std::vector<std::string> argv = {std::move(argv0), "-G", "-T"};
  append_ssh_target(target, options, argv);
  return argv;
}

// One process, from its start to its answer.
class SshQuestions::Question {
 public:
  struct Output {
    std::string out, err;
  };
  using OnDone = Function<void(Result<Output>)>;

  Question(Loop& loop, OnDone on_done) : loop_(loop), on_done_(std::move(on_done)) {}
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;
  ~Question() {
    loop_.cancel(deadline_);
    for (Side* side : {&out_, &err_}) close(*side);
  }

  void begin(const std::vector<std::string>& argv) {
    Result<FdPair> out = make_pipe(), err = make_pipe();
    if (!out) return finish_soon(out.error());
    if (!err) return finish_soon(err.error());
    SpawnOptions options;
    options.new_session = true;  // a Ctrl-C at our terminal is ours to pass on
    options.die_with_parent = true;
    const Spawned spawned =
        SpawnPlan(argv, std::move(options)).run({.out = out->second.get(), .err = err->second.get()});
    if (spawned.pid < 0) {
      Error error =
          system_error(ErrorClass::kIo, Phase::kResolve, cat("starting ", argv.front()), spawned.error);
      if (spawned.step == SpawnStep::kExecute) error.remedy = "install OpenSSH's client";
      return finish_soon(std::move(error));
    }
    open(out_, std::move(out->first), kAnswerMax);
    open(err_, std::move(err->first), kComplaintMax);
    process_ =
        std::make_unique<ChildProcess>(loop_, spawned.pid, true, [this](int status) { on_end(status); });
    deadline_ = loop_.after(kSshQuestionDeadline, [this] {
      finish(Error{ErrorClass::kTimeout, Phase::kResolve,
                   cat("ssh -G said nothing for ", kSshQuestionDeadline / kSecond, " s"),
                   "see whether a Match exec of ssh's configuration waits for something"});
    });
  }

 private:
  struct Side {
    Fd fd;
    Loop::WatchId watch = 0;
    std::string text;
    std::size_t max = 0;
  };

  void open(Side& side, Fd fd, std::size_t max) {
    side.fd = std::move(fd);
    side.max = max;
    ::fcntl(side.fd.get(), F_SETFL, O_NONBLOCK);
    side.watch = loop_.watch(side.fd.get(), {.read = true}, [this, &side](Ready) { read(side); });
  }

  void close(Side& side) {
    if (!side.fd) return;
    loop_.unwatch(std::exchange(side.watch, 0));
    loop_.close(side.fd.release());
  }

  // What is beyond the bound is read and thrown away, so that the process ends.
  void read(Side& side) {
    std::uint8_t bytes[kReadSize];
    while (side.fd) {
      const IoResult result = loop_.read(side.fd.get(), bytes, sizeof bytes);
      if (result.status == IoResult::Status::kWouldBlock) return;
      if (result.status != IoResult::Status::kOk) return close(side);
      const std::size_t room = side.max + 1 - std::min(side.text.size(), side.max + 1);
      side.text.append(as_text(Bytes(bytes, std::min(result.bytes, room))));
      if (result.bytes > room) return;  // an endless one must not keep the loop here
    }
  }

  // All it wrote itself is in the pipes now; what it left behind may hold them open for long.
  void on_end(int status) {
    read(out_);
    read(err_);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return finish(refused(err_.text, status));
    if (out_.text.size() > out_.max) {
      return finish(Error{
          ErrorClass::kProtocol, Phase::kResolve, cat("ssh -G said more than ", kAnswerMax, " bytes"), {}});
    }
    const bool whole = err_.text.size() <= err_.max;
    finish(Output{std::move(out_.text), whole ? std::move(err_.text) : ""});
  }

  void finish_soon(Error error) {
    deadline_ = loop_.after(0, [this, error = std::move(error)] { finish(error); });
  }

  void finish(Result<Output> output) {
    loop_.cancel(std::exchange(deadline_, 0));
    const OnDone on_done = std::move(on_done_);
    on_done(std::move(output));  // destroys us
  }

  Loop& loop_;
  OnDone on_done_;
  Loop::TimerId deadline_ = 0;
  Side out_, err_;
  std::unique_ptr<ChildProcess> process_;
};

SshQuestions::SshQuestions(Loop& loop, LocalUser local, std::string argv0, SshAnswers* answers)
    : loop_(loop), local_(std::move(local)), argv0_(std::move(argv0)), answers_(answers) {}

SshQuestions::~SshQuestions() {
  *alive_ = false;
}

void SshQuestions::ask(const SshTarget& target, const SshOptions& options, OnAnswer on_answer) {
  Key key = ssh_question_argv(argv0_, target, options);
  auto [it, is_new] = entries_.try_emplace(key);
  Entry& entry = it->second;
  if (entry.answer) {
    loop_.post([alive = alive_, answer = entry.answer, on_answer = std::move(on_answer)] {
      if (*alive) on_answer(*answer);
    });
    return;
  }
  entry.waiting.push_back(std::move(on_answer));
  if (!is_new) return;
  if (const auto kept = answers_ == nullptr ? std::nullopt : answers_->find(key)) {
    loop_.post([this, alive = alive_, key = std::move(key), kept = *kept] {
      if (!*alive) return;
      ++running_;
      on_output(key, kept);
    });
    return;
  }
  queue_.push_back(std::move(key));
  start_more();
}

void SshQuestions::start_more() {
  while (running_ < kSshQuestionsMax && !queue_.empty()) {
    const Key key = std::move(queue_.front());
    queue_.pop_front();
    start(key);
  }
}

void SshQuestions::start(const Key& key) {
  ++running_;
  ++asked_;
  Entry& entry = entries_.at(key);
  const std::int64_t now = wall_clock_seconds();
  entry.question = std::make_unique<Question>(loop_, [this, key, now](Result<Question::Output> output) {
    if (!output) return on_done(key, output.error());
    if (answers_ != nullptr && !output->err.empty()) answers_->learn(key, output->out, output->err, now);
    on_output(key, output->out);
  });
  entry.question->begin(answers_ == nullptr ? key : telling(key));
}

void SshQuestions::on_output(const Key& key, std::string_view output) {
  Result<SshSettings> settings = parse_ssh_settings(output, key.back(), local_);
  if (!settings) return on_done(key, settings.error());
  on_done(key, std::make_shared<const SshSettings>(std::move(*settings)));
}

void SshQuestions::on_done(const Key& key, Answer answer) {
  --running_;
  Entry& entry = entries_.at(key);
  // Not in the middle of its own work.
  loop_.post([question = std::shared_ptr<Question>(std::move(entry.question))] {});
  entry.answer = std::make_shared<const Answer>(std::move(answer));
  answered_.push_back(key);
  std::vector<OnAnswer> waiting = std::move(entry.waiting);
  entry.waiting.clear();
  const auto told = entry.answer;
  forget_old();
  start_more();
  const auto alive = alive_;
  for (const OnAnswer& on_answer : waiting) {
    if (*alive) on_answer(*told);
  }
}

void SshQuestions::forget_old() {
  while (answered_.size() > kAnswersKept) {
    entries_.erase(answered_.front());
    answered_.pop_front();
  }
}

}  // namespace banyan
