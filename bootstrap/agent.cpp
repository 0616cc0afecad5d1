// bootstrap/agent.cpp -- the shipped program's main.
int main() { return 0; }
