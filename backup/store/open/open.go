// Package open turns a location, as people write it, into a store.Store: with retries and a bandwidth where there is
// a network, and with the credentials that the environment holds.
//
// It understands restic's spellings and its environment (RESTIC_REST_USERNAME, RESTIC_CACERT, AWS_…), so that a
// script that ran restic goes on. No error and no String of it contains a secret.
package open

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/limit"
	"github.com/trivet-ha/trivet/backup/store/local"
	"github.com/trivet-ha/trivet/backup/store/location"
	"github.com/trivet-ha/trivet/backup/store/rclone"
	"github.com/trivet-ha/trivet/backup/store/rest"
	"github.com/trivet-ha/trivet/backup/store/retry"
	"github.com/trivet-ha/trivet/backup/store/s3"
	"github.com/trivet-ha/trivet/backup/store/sftp"
)

// Options changes how a store is reached. The zero Options works.
type Options struct {
	// Create makes what must be there before the first file: a directory, a bucket.
	Create bool
	// Limits holds the bandwidth.
	Limits limit.Limits
	// Retry bounds the repetition of failed calls; its zero value has its defaults.
	Retry retry.Config
	// CAFile, ClientCertFile and Insecure are for TLS: see rest.Config.
	CAFile, ClientCertFile string
	Insecure               bool
	// Lock is S3 object lock.
	Lock s3.Lock
	// Extended are settings of one scheme, "s3.region" and the like: see location.Settings.
	Extended map[string]string
	// Getenv reads the environment; os.Getenv when nil.
	Getenv func(string) string
	// Log hears of repetitions, and of what helpers say; nobody when nil.
	Log *slog.Logger
}

// Store opens the store at a location. It connects only as far as Create needs it.
func Store(ctx context.Context, where string, o Options) (store.Store, error) {
	l, err := location.Parse(where)
	if err != nil {
		return nil, err
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.CAFile == "" {
		o.CAFile = o.Getenv("RESTIC_CACERT")
	}
	if o.ClientCertFile == "" {
		o.ClientCertFile = o.Getenv("RESTIC_TLS_CLIENT_CERT")
	}
	o.Retry.Log = o.Log
	connections, err := o.connections()
	if err != nil {
		return nil, err
	}
	switch l.Scheme {
	case location.S3:
		return o.s3(ctx, l, connections)
	case location.SFTP:
		return o.sftp(ctx, l)
	case location.REST:
		return o.rest(l, connections)
	case location.Rclone:
		return o.rclone(l)
	}
	return o.local(l)
}

func (o Options) connections() (int, error) {
	for name := range o.Extended {
		if !slices.Contains(location.Settings(), name) {
			return 0, fmt.Errorf("unknown setting %q: there are %s", name, strings.Join(location.Settings(), ", "))
		}
	}
	text, ok := o.Extended["connections"]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("setting connections=%q is not a positive number", text)
	}
	return n, nil
}

func (o Options) local(l location.Location) (store.Store, error) {
	open := local.Open
	if o.Create {
		open = local.Create
	}
	s, err := open(l.Path)
	if errors.Is(err, fs.ErrNotExist) && !o.Create {
		return nil, fmt.Errorf("there is no repository at %s: %w (\"trivet repo init\" makes one)", l, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return limit.Store(s, o.Limits), nil
}

func (o Options) s3(ctx context.Context, l location.Location, connections int) (store.Store, error) {
	c := s3.Config{
		Endpoint: l.Host, PlainHTTP: l.PlainHTTP, Bucket: l.Bucket, Prefix: l.Path,
		Region: o.first(o.Extended["s3.region"], "AWS_REGION", "AWS_DEFAULT_REGION"), PathStyle: o.Extended["s3.bucket-lookup"],
		StorageClass: o.Extended["s3.storage-class"], Lock: o.Lock, CAFile: o.CAFile, Insecure: o.Insecure,
		Connections: connections, Limits: o.Limits,
		AccessKey: o.Getenv("AWS_ACCESS_KEY_ID"), SecretKey: o.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: o.Getenv("AWS_SESSION_TOKEN"),
	}
	if endpoint := o.first("", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"); l.Host == "" && endpoint != "" {
		host, plain := strings.CutPrefix(endpoint, "http://")
		c.Endpoint, c.PlainHTTP = strings.TrimSuffix(strings.TrimPrefix(host, "https://"), "/"), plain
	}
	s, err := s3.New(c)
	if err != nil {
		return nil, err
	}
	if o.Create {
		if err := retry.Do(ctx, o.Retry, "create", func() error { return s.Create(ctx) }); err != nil && !errors.Is(err, store.ErrDenied) {
			return nil, err // a denial may mean that the bucket is there and only its making is forbidden
		}
	}
	return retry.New(s, o.Retry), nil
}

// first is the first that is set: value, or one of the variables.
func (o Options) first(value string, variables ...string) string {
	for _, name := range variables {
		if value == "" {
			value = o.Getenv(name)
		}
	}
	return value
}

func (o Options) sftp(ctx context.Context, l location.Location) (store.Store, error) {
	c := sftp.Config{User: l.User, Host: l.Host, Port: l.Port, Path: l.Path, Limits: o.Limits}
	if command := o.Extended["sftp.command"]; command != "" {
		c.Command = strings.Fields(command)
	}
	if file := o.Extended["sftp.known-hosts"]; file != "" {
		c.KnownHosts = []string{file}
	}
	if file := o.Extended["sftp.key"]; file != "" {
		c.KeyFiles = []string{file}
	}
	s, err := sftp.New(c)
	if err != nil {
		return nil, err
	}
	if o.Create {
		if err := retry.Do(ctx, o.Retry, "create", func() error { return s.Create(ctx) }); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return retry.New(s, o.Retry), nil
}

func (o Options) rest(l location.Location, connections int) (store.Store, error) {
	s, err := rest.New(rest.Config{
		URL: l.URL(), User: o.Getenv("RESTIC_REST_USERNAME"), Password: o.Getenv("RESTIC_REST_PASSWORD"),
		CAFile: o.CAFile, ClientCertFile: o.ClientCertFile, Insecure: o.Insecure, Connections: connections, Limits: o.Limits,
	})
	if err != nil {
		return nil, err
	}
	return retry.New(s, o.Retry), nil
}

func (o Options) rclone(l location.Location) (store.Store, error) {
	c := rclone.Config{Remote: l.Path, Program: o.Extended["rclone.program"], Limits: o.Limits, Log: o.Log}
	if args := o.Extended["rclone.args"]; args != "" {
		c.Args = strings.Fields(args)
	}
	s, err := rclone.New(c)
	if err != nil {
		return nil, err
	}
	return retry.New(s, o.Retry), nil
}
