// Goal: a password for becoming another user is asked for once for all who are asked the same, tried by one
// of them at a time, given to a start once, and to nobody any more when it was refused. Method: starts that
// ask as sudo and su do, and a person who is a list of answers.
#include "transports/become.h"

#include <catch2/catch.hpp>
#include <deque>

#include "core/epoll_loop.h"
#include "tests/support/run_until.h"

using namespace banyan;
using namespace banyan::test;

namespace {

class Person final : public Asker {
 public:
  explicit Person(Loop& loop) : loop_(loop) {}
  bool can_ask() const override { return true; }
  Id ask(Question question, OnAnswer on_answer) override {
    asked.push_back(question.who + question.items.at(0).text);
    loop_.post([this, then = std::move(on_answer)] {
      Answer answer;
      answer.outcome = answers.empty() ? Outcome::kDeclined : Outcome::kAnswered;
      if (!answers.empty()) {
        answer.secrets.push_back(Secret::copy_of(as_bytes(answers.front())));
        answers.pop_front();
      }
      then(std::move(answer));
    });
    return asked.size();
  }
  void cancel(Id) override {}
  bool is_waiting(Id) const override { return false; }

  std::vector<std::string> asked;
  std::deque<std::string> answers;

 private:
  Loop& loop_;
};

const BecomeScope kScope{"sudo here ann", "sudo", "ann"};

struct World {
  EpollLoop loop;
  Person person{loop};
  Secrets secrets{loop, person};
  BecomeSecrets become{loop, secrets};

  explicit World(std::deque<std::string> answers = {"geheim"}) { person.answers = std::move(answers); }
};

struct Start {
  World& world;
  BecomeAnswerer answerer;
  std::vector<std::string> answers;  // "" for none

  explicit Start(World& of, const char* name = "web1", bool on_terminal = false,
                 const BecomeScope& scope = kScope)
      : world(of), answerer(of.become, scope, name, 1, 2, on_terminal) {}
  void ask(const std::string& question) {
    answerer.ask(1, as_bytes(question), [this](Bytes answer) { answers.emplace_back(as_text(answer)); });
  }
  void ask_for_password() { ask(answerer.token() + std::string(1, '\0') + answerer.prompt()); }
  std::string answer() {
    const std::size_t before = answers.size();
    ask_for_password();
    run_until(world.loop, [&] { return answers.size() > before; });
    return answers.back();
  }
};

Error failed() {
  return Error{ErrorClass::kAuth, Phase::kBecome, "sudo: 1 incorrect password attempt", {}};
}

}  // namespace

TEST_CASE("one password is asked for all of a scope, and others are asked for another") {
  World world({"geheim", "anders"});
  world.become.expect(kScope, "web1");
  world.become.expect(kScope, "web2");
  Start one(world), two(world, "web2"), other(world, "web1", false, {"su there db", "su", "db"});
  CHECK(one.answer() == "geheim");
  one.answerer.came_through();
  CHECK(two.answer() == "geheim");
  CHECK(other.answer() == "anders");
  CHECK(world.person.asked == std::vector<std::string>{"[sudo] password of ann for web1 and 1 more: ",
                                                       "[su] password of db for web1: "});
}

TEST_CASE("until one has come through with a password the next waits for it, and has it then") {
  World world;
  Start one(world), two(world, "web2");
  CHECK(one.answer() == "geheim");
  two.ask_for_password();
  for (int i = 0; i < 5; ++i) world.loop.run_once(0);
  CHECK(two.answers.empty());
  one.answerer.came_through();
  run_until(world.loop, [&] { return !two.answers.empty(); });
  CHECK(two.answers.back() == "geheim");
}

TEST_CASE("a second question gets no answer, and nobody has that password any more") {
  World world({"falsch", "richtig"});
  Start one(world), two(world, "web2");
  CHECK(one.answer() == "falsch");
  CHECK(one.answer() == "");
  CHECK(one.answerer.ended(failed()).text == "the password was refused");
  CHECK(two.answer() == "");
  CHECK(two.answerer.ended(failed()).text == "the password was refused for web1, so it is not tried here");
  CHECK(world.person.asked.size() == 1);
}

TEST_CASE("a password that was right for one is not taken from the others when a host refuses it") {
  World world;
  Start one(world), two(world, "web2"), three(world, "web3");
  CHECK(one.answer() == "geheim");
  one.answerer.came_through();
  CHECK(two.answer() == "geheim");
  CHECK(two.answer() == "");
  CHECK(two.answerer.ended(failed()).text == "the password was refused");
  CHECK(three.answer() == "geheim");
}

TEST_CASE("a start that fails with a word on the password has it refused; with another word it has not") {
  for (const char* text : {"sudo: 1 incorrect password attempt", "sudo: account validation failure"}) {
    World world;
    Start one(world), two(world, "web2");
    CHECK(one.answer() == "geheim");
    Error error = failed();
    error.text = text;
    const bool is_account = one.answerer.ended(error).text == text;
    CHECK(is_account == (error.text.find("account") != std::string::npos));
    if (!is_account) CHECK(two.answer() == "");
  }
}

TEST_CASE("who does not show the token of its start, or asks for something else, has no password") {
  World world({"123456"});
  Start one(world);
  one.ask("Password: ");
  one.ask(std::string("0000000000000000\0", 17) + one.answerer.prompt());
  CHECK(one.answers == std::vector<std::string>{"", ""});
  CHECK(world.person.asked.empty());
  one.ask(one.answerer.token() + std::string(1, '\0') + "Code: ");
  run_until(world.loop, [&] { return one.answers.size() == 3; });
  CHECK(one.answers.back() == "123456");
  CHECK(world.person.asked == std::vector<std::string>{"(web1) Code: "});
}

TEST_CASE("on a terminal whatever is asked unseen is the password, once") {
  World world;
  Start one(world, "web1", true);
  one.ask("Mot de passe : ");
  run_until(world.loop, [&] { return one.answers.size() == 1; });
  one.ask("?");
  CHECK(one.answers == std::vector<std::string>{"geheim", ""});
}

TEST_CASE("a person who says no ends it for all who are asked the same") {
  World world{std::deque<std::string>()};
  Start one(world), two(world, "web2");
  CHECK(one.answer() == "");
  CHECK(two.answer() == "");
  CHECK(two.answerer.ended(failed()).text == "a password was asked for, and not given");
  CHECK(world.person.asked.size() == 1);
}
