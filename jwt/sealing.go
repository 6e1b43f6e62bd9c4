package jwt

import (
	"fmt"

	"github.com/gatewire/gatewire/internal/seal"
)

// SealingKeys encrypt private keys at rest: the first seals, all open. They
// print as REDACTED. oidc and auth/accounts take the same type.
//
// To rotate them, put the new one last on every node, and when that is done,
// first on every node. Stored keys are not sealed again: keep the old one for
// Rotate + Publish + Retire of [RingOptions], until the last key sealed with it
// is gone.
type SealingKeys = seal.Keys

// ParseSealingKeys reads "id:base64[,id:base64…]", 32 bytes each, the first is
// current. The error names the entry, never its content.
func ParseSealingKeys(s string) (SealingKeys, error) {
	ks, err := seal.Parse(s)
	if err != nil {
		return SealingKeys{}, fmt.Errorf("jwt: sealing keys: %w", err)
	}
	return ks, nil
}

// GenerateSealingKeys returns one fresh key named id and its text for
// [ParseSealingKeys], which is to be kept as a secret.
func GenerateSealingKeys(id string) (SealingKeys, string, error) {
	ks, text, err := seal.Generate(id)
	if err != nil {
		return SealingKeys{}, "", fmt.Errorf("jwt: sealing keys: %w", err)
	}
	return ks, text, nil
}
