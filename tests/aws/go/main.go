// The AWS SDK for Go v2 against a server, step by step; prints a line of JSON per step.
//
//	kmsclient ENDPOINT REGION OTHER-REGION     with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

var (
	ctx     = context.Background()
	pairs   = map[string]string{"app": "shop", "naïve": "ключ"}
	arn     string
	blob    []byte
	here    *kms.Client
	there   *kms.Client
	content = bytes.Repeat([]byte{7}, 4096)
)

type step struct {
	name string
	run  func() error
}

func client(endpoint, region string) *kms.Client {
	signer := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{
			AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
		}, nil
	})
	return kms.New(kms.Options{BaseEndpoint: aws.String(endpoint), Region: region, Credentials: signer})
}

func aKey() error {
	made, err := here.CreateKey(ctx, &kms.CreateKeyInput{Description: aws.String("from Go")})
	if err != nil {
		return err
	}
	arn = *made.KeyMetadata.Arn
	if !made.KeyMetadata.Enabled || made.KeyMetadata.CreationDate.IsZero() {
		return fmt.Errorf("not enabled, or without a date: %v", made.KeyMetadata)
	}
	return nil
}

func encryptedAndDecrypted() error {
	sealed, err := here.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: content, EncryptionContext: pairs})
	if err != nil {
		return err
	}
	blob = sealed.CiphertextBlob
	opened, err := here.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: &arn})
	if err != nil {
		return err
	}
	if !bytes.Equal(opened.Plaintext, content) || *opened.KeyId != arn {
		return fmt.Errorf("another plaintext or key: %s", *opened.KeyId)
	}
	return nil
}

func paginators() error {
	for n := range 3 {
		name := aws.String(fmt.Sprintf("alias/go-%s-%d", arn[len(arn)-36:], n))
		if _, err := here.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: name, TargetKeyId: &arn}); err != nil {
			return err
		}
	}
	found, pages := 0, kms.NewListAliasesPaginator(here, &kms.ListAliasesInput{KeyId: &arn, Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		found += len(page.Aliases)
	}
	if found != 3 {
		return fmt.Errorf("%d aliases", found)
	}
	return nil
}

func refusalsAreItsOwnTypes() error {
	other, err := here.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		return err
	}
	_, err = here.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
	var damaged *types.InvalidCiphertextException
	if !errors.As(err, &damaged) {
		return fmt.Errorf("no InvalidCiphertextException: %v", err)
	}
	named := &kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: other.KeyMetadata.KeyId}
	var incorrect *types.IncorrectKeyException
	if _, err = here.Decrypt(ctx, named); !errors.As(err, &incorrect) {
		return fmt.Errorf("no IncorrectKeyException: %v", err)
	}
	var missing *types.NotFoundException
	if _, err = there.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn}); !errors.As(err, &missing) {
		return fmt.Errorf("no NotFoundException: %v", err)
	}
	reserved := &kms.CreateAliasInput{AliasName: aws.String("alias/aws/mine"), TargetKeyId: &arn}
	var refused smithy.APIError
	if _, err = here.CreateAlias(ctx, reserved); !errors.As(err, &refused) ||
		refused.ErrorCode() != "NotAuthorizedException" {
		return fmt.Errorf("no NotAuthorizedException: %v", err)
	}
	return nil
}

func main() {
	here, there = client(os.Args[1], os.Args[2]), client(os.Args[1], os.Args[3])
	for _, step := range []step{
		{"a key", aKey},
		{"encrypted and decrypted", encryptedAndDecrypted},
		{"paginators", paginators},
		{"refusals are its own types", refusalsAreItsOwnTypes},
	} {
		err := step.run()
		line, _ := json.Marshal(map[string]any{"step": step.name, "done": err == nil, "answer": fmt.Sprint(err)})
		fmt.Println(string(line))
		if err != nil {
			os.Exit(1)
		}
	}
}
