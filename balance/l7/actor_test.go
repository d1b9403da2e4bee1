package l7_test

// actorEnv holds the address that this program serves when it plays an endpoint.
const actorEnv = "TRIVET_L7_TEST_ENDPOINT"

func act(address string) int { return 0 }
