//go:build tools

// Package tools pins the versions of h2spec and of what it is made of.
package tools

import _ "github.com/summerwind/h2spec"
