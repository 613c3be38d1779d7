"""What does a code of few values keep?"""
